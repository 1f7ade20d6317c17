"""How variants are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .wire import Proportion, Wire


class Schedule(Wire):
    """How pruning and training alternate; the epochs are the same in total, for every family."""

    kind: Literal["one_shot", "iterative"] = "one_shot"
    steps: Annotated[int, Field(ge=2, le=100)] = Field(
        default=3,
        description="iterative: prune in so many steps with training between; filters are scored anew before each step",
    )


class TrainingSpec(Wire):
    """One recipe for every variant of the job, whatever its family; what is left out comes from the model's source."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = Field(default=5, description="fine-tuning epochs per variant")
    base_epochs: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="epochs for the base when it is trained from scratch; default by data set",
    )
    seeds: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(default=[0], min_length=1, max_length=32)
    schedule: Schedule = Schedule()
    batch_size: Annotated[int, Field(ge=2, le=4096)] = 64
    learning_rate: Annotated[float, Field(gt=0, le=10)] | None = Field(
        default=None,
        description="default: 0.05 with batch norm and from scratch; lower without it, or where weights came in",
    )
    weight_decay: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="default: 5e-4; 0.05 for networks with layer norm, which AdamW trains"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="decay of an exponential moving average of the weights, which is what is kept; off by default",
    )
    flip: bool | None = Field(
        default=None, description="mirror images at random; default: where the data set allows it (not for digits)"
    )
    mixed_precision: Literal["auto", "off"] = Field(
        default="auto", description="auto: bfloat16 where a short trial finds it faster on the worker"
    )
    distillation: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5,
        description="weight of the unpruned network's soft labels in the loss",
    )


class Accuracies(Wire):
    """One split, three moments: right after surgery, after batch-norm re-estimation, after fine-tuning."""

    after_surgery: Proportion | None = None
    after_reestimation: Proportion | None = None
    final: Proportion


class EpochRecord(Wire):
    epoch: int
    loss: float
    validation_accuracy: float
    seconds: float
