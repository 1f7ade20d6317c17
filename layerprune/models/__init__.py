"""Networks by name: ``SOURCE:NAME``, or a plug-in's; adding a source is one module and one row of the table."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, cast

from layerprune.api.catalogue import ModelInfo
from layerprune.api.errors import BadInput, UnknownName

if TYPE_CHECKING:
    from torch import nn

    from layerprune.api.network import ModelSpec, Preprocess

Args = Mapping[str, "int | float | str | bool"]
Origin = Literal["scratch", "weights", "onnx"]
"""Where a network's weights come from, which is what its default training recipe goes by."""

PLUGIN = ""
"""The source of names without a colon."""
SOURCES: dict[str, str] = {
    "cifar": "layerprune.models.cifar",
    "torchvision": "layerprune.models.torchvision",
    "timm": "layerprune.models.timm",
    PLUGIN: "layerprune.models.plugins",
}


class Source(Protocol):
    """What the module of a source offers."""

    def list_models(self) -> list[ModelInfo]:
        """Every network of the source."""

    def build(self, name: str, *, classes: int, args: Args) -> nn.Module:
        """Make the network ``name`` (without its source) with random weights."""

    def preprocess(self, name: str, args: Args) -> Preprocess | None:
        """How the network's published weights see an image; None if the source does not say."""

    def has_fixed_size(self, name: str) -> bool:
        """Whether the network only runs at the input size that `preprocess` names."""


def list_models() -> list[ModelInfo]:
    """Every network that can be asked for."""
    return [model for source in SOURCES for model in _load(source).list_models()]


def build(name: str, *, classes: int, args: Args | None = None, seed: int = 0) -> nn.Module:
    """Make the network ``name`` for ``classes`` classes with random weights, the same for the same seed.

    Raises UnknownName for an unknown network and BadInput for an argument that it does not take.
    """
    import torch

    module, short = _find(name)
    if classes < 1:
        raise BadInput(f"a classifier needs at least 1 class, not {classes}", field="classes", value=classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return module.build(short, classes=classes, args=args or {})
        except (TypeError, ValueError, AssertionError) as error:
            raise BadInput(
                f"{name} cannot be made with the arguments {dict(args or {})}: {error}",
                field="model.args",
                value=dict(args or {}),
                remedy="Leave the argument out, or give one that the network takes.",
            ) from error


def preprocess_of(name: str, args: Args | None = None) -> Preprocess | None:
    """How the published weights of a network see an image; None if the data set decides. Raises UnknownName."""
    module, short = _find(name)
    return module.preprocess(short, args or {})


def has_fixed_size(name: str) -> bool:
    """Whether the network only runs at the size that `preprocess_of` names. Raises UnknownName."""
    module, short = _find(name)
    return module.has_fixed_size(short)


def origin(spec: ModelSpec) -> Origin:
    """Where the weights of a job's base come from."""
    if spec.onnx is not None:
        return "onnx"
    return "weights" if spec.weights is not None else "scratch"


def _find(name: str) -> tuple[Source, str]:
    """The module of the source and the network's name in it."""
    source, _, short = name.rpartition(":")
    if source not in SOURCES:
        raise UnknownName("model", name, [model.name for model in list_models()], field="model.name")
    module = _load(source)
    if all(name != model.name for model in module.list_models()):
        raise UnknownName("model", name, [model.name for model in list_models()], field="model.name")
    return module, short


def _load(source: str) -> Source:
    return cast(Source, import_module(SOURCES[source]))
