"""Networks by name, ``SOURCE:NAME``; adding a source is one module and one row of the table."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from layerprune.api.catalogue import ModelInfo
from layerprune.api.errors import BadInput, UnknownName

if TYPE_CHECKING:
    from torch import nn

Args = Mapping[str, "int | float | str | bool"]

SOURCES: dict[str, str] = {
    "cifar": "layerprune.models.cifar",
    "torchvision": "layerprune.models.torchvision",
}


class Source(Protocol):
    """What the module of a source offers."""

    def list_models(self) -> list[ModelInfo]:
        """Every network of the source."""

    def build(self, name: str, *, classes: int, args: Args) -> nn.Module:
        """Make the network ``name`` (without its source) with random weights."""


def list_models() -> list[ModelInfo]:
    """Every network that can be asked for."""
    return [model for source in SOURCES for model in _load(source).list_models()]


def build(name: str, *, classes: int, args: Args | None = None, seed: int = 0) -> nn.Module:
    """Make the network ``name`` for ``classes`` classes with random weights, the same for the same seed.

    Raises UnknownName for an unknown network and BadInput for an argument that it does not take.
    """
    import torch

    source, _, short = name.partition(":")
    if source not in SOURCES:
        raise UnknownName("model", name, [model.name for model in list_models()], field="model.name")
    module = _load(source)
    if name not in (known := [model.name for model in module.list_models()]):
        raise UnknownName("model", name, known, field="model.name")
    if classes < 1:
        raise BadInput(f"a classifier needs at least 1 class, not {classes}", field="classes", value=classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return module.build(short, classes=classes, args=args or {})
        except (TypeError, ValueError) as error:
            raise BadInput(
                f"{name} cannot be made with the arguments {dict(args or {})}: {error}",
                field="model.args",
                value=dict(args or {}),
                remedy="Leave the argument out, or give one that the network takes.",
            ) from error


def _load(source: str) -> Source:
    return cast(Source, import_module(SOURCES[source]))
