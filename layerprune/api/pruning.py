"""What to prune, by which criteria, and towards which budgets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from .wire import Wire

Method = Literal["layer", "filter", "hybrid"]
Family = Literal["base", "layer", "filter", "filter_aligned", "hybrid", "handcrafted"]
"""What a variant is compared as; aligned filters are a family of their own because the kernels' block size decides
whether filter pruning pays (docs/pruning.md). Hybrids remove layers and aligned channels under one budget; handcrafted
networks are the job's rivals: small by design, not pruned."""


class Target(Wire):
    """One latency budget: milliseconds, or a ratio of the base's latency on that device."""

    device: str | None = Field(default=None, description="this device only; all devices of the job if left out")
    backend: str | None = Field(default=None, description="this runtime only; all runtimes of the job if left out")
    precision: str | None = None
    batch_size: int | None = None
    threads: int | None = None
    statistic: Literal["p50", "p99"] = "p50"
    latency_ms: Annotated[float, Field(gt=0)] | None = None
    ratio: float | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Target:
        if (self.latency_ms is None) == (self.ratio is None):
            raise ValueError("give exactly one of latency_ms and ratio")
        if self.ratio is not None and not 0 < self.ratio < 1:
            raise ValueError(
                f"a target ratio must lie between 0 and 1, this is {self.ratio}: at 1 or above nothing is to be pruned"
            )
        return self


class TargetLists(Wire):
    """The short form: the same budgets for every device of the job."""

    latency_ratios: list[float] = []
    latency_ms: list[float] = []


def _form(targets: object) -> str:
    return "list-of-targets" if isinstance(targets, list) else "short-form"


TARGET_FORMS = ("short-form", "list-of-targets")
"""The tags by which pydantic tells the two forms apart; it puts them into the places of its errors."""
AnyTargets = Annotated[
    Annotated[TargetLists, Tag(TARGET_FORMS[0])] | Annotated[list[Target], Tag(TARGET_FORMS[1])], Discriminator(_form)
]


class FilterOptions(Wire):
    """How filters may be cut."""

    alignments: list[Annotated[int, Field(ge=1, le=256)]] = Field(
        default=[1, 8, 16, 32],
        min_length=1,
        description="kept channels are multiples of this; 1 is unaligned",
    )
    scopes: list[Literal["uniform", "global"]] = Field(default=["uniform"], min_length=1)
    min_channels: Annotated[int, Field(ge=1)] = Field(default=4, description="no layer keeps fewer channels than this")


class LayerOptions(Wire):
    """Which layers may go, besides those that everybody would call a layer."""

    width_changing: bool = Field(
        default=False,
        description="also convolutions that change the width (VGG): what follows gets a new, untrained input",
    )
    finer_kinds: bool = Field(
        default=False, description="also nested layers, squeeze-excite units, lone depthwise convolutions and linears"
    )


class PruningSpec(Wire):
    methods: list[Method] = Field(default=["layer", "filter", "hybrid"], min_length=1)
    criteria: list[str] = Field(default=["weight_l1", "imprinting", "random"], min_length=1)
    targets: AnyTargets | None = Field(default=None, description="latency budgets; default: ratios 0.8, 0.65 and 0.5")
    amounts: list[Annotated[float, Field(gt=0, lt=1)]] | None = Field(
        default=None,
        description="instead of targets: fractions of the base's MACs to remove; nothing is swept",
    )
    layers: LayerOptions = LayerOptions()
    filters: FilterOptions = FilterOptions()
    layer_score: Literal["mean", "normalised"] = Field(
        default="mean",
        description="how filters make a layer's score: their mean, as in the paper, or free of the layers' widths",
    )
    max_sweep_minutes: Annotated[float, Field(gt=0)] = Field(
        default=20, description="device time that sweeps may take, per device and condition"
    )
    max_trainings: Annotated[int, Field(ge=1, le=10_000)] | None = None
    max_build_hours: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="stop choosing plans when their trainings would take longer than this"
    )

    @model_validator(mode="after")
    def _targets_or_amounts(self) -> PruningSpec:
        if self.amounts and self.targets:
            raise ValueError("give either targets or amounts, not both")
        return self

    def target_list(self) -> list[Target]:
        """Every budget in the long form; empty when the job names amounts."""
        if self.amounts:
            return []
        if isinstance(self.targets, list):
            return self.targets
        lists = self.targets or TargetLists(latency_ratios=[0.8, 0.65, 0.5])
        return [Target(ratio=r) for r in lists.latency_ratios] + [Target(latency_ms=ms) for ms in lists.latency_ms]
