"""Networks of other distributions: entry points of the group ``layerprune.models`` on the build worker.

An entry point is a callable ``build(*, classes, **args) -> nn.Module``, or an object with such a ``build``. Optional
attributes: ``description``, ``input_size`` (pixels) and ``preprocess`` (a Preprocess, or a dictionary of its fields).
"""

from __future__ import annotations

import logging
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from layerprune.api.catalogue import ModelInfo
from layerprune.api.errors import BadInput
from layerprune.api.network import Preprocess

if TYPE_CHECKING:
    from torch import nn

    from . import Args

GROUP = "layerprune.models"
_log = logging.getLogger(__name__)


def list_models() -> list[ModelInfo]:
    """The plug-ins that are installed; one that cannot be imported is logged and listed with its reason."""
    return [_describe(entry) for entry in entry_points(group=GROUP)]


def build(name: str, *, classes: int, args: Args) -> nn.Module:
    """Make the plug-in's network. Raises BadInput if the plug-in fails or gives something else."""
    from torch import nn

    plugin = _load(name)
    make = getattr(plugin, "build", plugin)
    try:
        model = make(classes=classes, **args)
    except Exception as error:  # foreign code may raise anything; the job has to say what
        raise BadInput(
            f"the plug-in {name} failed: {type(error).__name__}: {error}", field="model.name", value=name
        ) from error
    if not isinstance(model, nn.Module):
        raise BadInput(
            f"the plug-in {name} gave {type(model).__name__}, not a torch.nn.Module", field="model.name", value=name
        )
    return model


def preprocess(name: str, args: Args) -> Preprocess | None:  # noqa: ARG001
    """What the plug-in states, if it states anything. Raises BadInput if that is no preprocessing."""
    stated = getattr(_load(name), "preprocess", None)
    try:
        return None if stated is None else Preprocess.model_validate(stated)
    except ValidationError as error:
        raise BadInput(f"the plug-in {name} states no valid preprocess: {error}", field="model.name") from error


def has_fixed_size(name: str) -> bool:
    """Whether the plug-in states a size: then it is taken at its word."""
    return getattr(_load(name), "preprocess", None) is not None


def _describe(entry: EntryPoint) -> ModelInfo:
    try:
        plugin = _import(entry)
    except BadInput as error:
        _log.warning("%s", error.message)
        return ModelInfo(name=entry.name, source="plugin", description=error.message, input_size=224)
    description = getattr(plugin, "description", None) or f"plug-in {entry.value}"
    size = getattr(plugin, "input_size", 224)
    return ModelInfo(name=entry.name, source="plugin", description=str(description), input_size=int(size))


def _load(name: str) -> Any:
    return _import(next(entry for entry in entry_points(group=GROUP) if entry.name == name))


def _import(entry: EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:  # foreign code may raise anything, and must not take the other networks with it
        raise BadInput(
            f"the plug-in {entry.name} ({entry.value}) cannot be imported: {type(error).__name__}: {error}",
            field="model.name",
            value=entry.name,
            remedy="Mend or reinstall the distribution that provides it on the build worker.",
        ) from error
