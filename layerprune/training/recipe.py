"""The one rule by which a job's TrainingSpec becomes a training, for the base, its variants and its rivals alike.

What the specification leaves out follows from the network's normalisation layers and from where its weights came from.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from layerprune.api.training import TrainingSpec
from layerprune.models import Origin

from .precision import Precision

Normalisation = Literal["batch", "layer", "none"]


@dataclass(frozen=True)
class _Default:
    optimizer: Literal["sgd", "adamw"]
    learning_rates: dict[Origin, float]
    weight_decay: float
    clip: float | None


_DEFAULTS: dict[Normalisation, _Default] = {
    # Batch norm makes a large step safe. Weights that somebody else has trained, for longer than we shall, are only to
    # be repaired: from 0.05 they would first be forgotten.
    "batch": _Default("sgd", {"scratch": 0.05, "weights": 0.01, "onnx": 0.01}, 5e-4, None),
    # Transformers and their kin: the gradients of their layers differ so much in size that one rate for all fails.
    # AdamW's decay is decoupled from the gradient and so has another scale.
    "layer": _Default("adamw", {"scratch": 5e-4, "weights": 1e-4, "onnx": 1e-4}, 0.05, 1.0),
    # Nothing keeps activations in range, above all after a layer went; exporters fold batch norm away, so this is what
    # most ONNX files are.
    "none": _Default("sgd", {"scratch": 0.01, "weights": 0.002, "onnx": 0.002}, 5e-4, 1.0),
}


@dataclass(frozen=True)
class Recipe:
    """Everything that `train_` has to know besides network, data, epochs and seed.

    `clip` is the largest norm of the gradient of all weights together; `ema` the decay of the averaged weights;
    `distillation` the share of the teacher's soft labels in the loss.
    """

    optimizer: Literal["sgd", "adamw"]
    learning_rate: float
    weight_decay: float
    clip: float | None
    batch_size: int
    label_smoothing: float
    ema: float | None
    flip: bool
    distillation: float
    precision: Precision = field(default_factory=Precision)

    def describe(self) -> dict[str, Any]:
        """Return it as JSON, to be stored with what it trained."""
        return asdict(self)


def make_recipe(
    model: nn.Module,
    spec: TrainingSpec,
    *,
    origin: Origin = "scratch",
    flip: bool = False,
    precision: Precision | None = None,
) -> Recipe:
    """Fill in what the specification leaves out; `flip` is what the data set allows, precision float32 if not given."""
    default = _DEFAULTS[normalisation_of(model)]
    return Recipe(
        optimizer=default.optimizer,
        learning_rate=spec.learning_rate or default.learning_rates[origin],
        weight_decay=default.weight_decay if spec.weight_decay is None else spec.weight_decay,
        clip=default.clip,
        batch_size=spec.batch_size,
        label_smoothing=spec.label_smoothing,
        ema=spec.ema,
        flip=flip if spec.flip is None else spec.flip,
        distillation=spec.distillation,
        precision=precision or Precision(),
    )


def normalisation_of(model: nn.Module) -> Normalisation:
    """Say what keeps the network's activations in range; layer norm counts more, where both are there."""
    modules = list(model.modules())
    if any(isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)) for module in modules):
        return "layer"
    return "batch" if any(isinstance(module, _BatchNorm) for module in modules) else "none"
