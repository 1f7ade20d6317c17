"""The comparison of a job's families: per device, by target, by accuracy, as whole fronts, and across devices."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .leaderboard import Accuracy, Versus
from .pruning import Family
from .wire import Digest, Proportion, Ratio, Wire


class Contender(Wire):
    """The variant that stands for its family at one target, chosen by validation accuracy."""

    variant: str
    label: str
    family: Family
    criteria: list[str]
    ratio: Ratio
    p50_ns: int
    accuracy: Accuracy
    validation: Proportion
    tries: int = Field(description="how many trained variants of the family it was the best of")


class Part(Wire):
    """A measured plan, and its share of what stands for a family at one latency."""

    variant: str
    label: str
    ratio: float = Field(description="latency as a ratio of the base's")
    share: float = Field(gt=0, le=1)


class AtEqualLatency(Wire):
    """Accuracy of two families at one measured latency.

    Where a family has no plan there, it stands between its plans on both sides, linearly in latency: what one gets, in
    the mean of latency and of accuracy, by answering a share of the images with either.
    """

    ratio: float = Field(description="the latency, as a ratio of the base's")
    interpolated: bool = Field(description="at least one side stands between two of its plans")
    first: list[Part]
    second: list[Part]
    accuracy_difference: float = Field(description="first minus second, as a fraction")
    ci_low: float
    ci_high: float
    seeds: int
    images: int
    verdict: Literal["first", "second", "tied"]
    sentence: str


class Interval(Wire):
    """A number with its 95 % interval."""

    value: float
    ci_low: float
    ci_high: float


class Duel(Wire):
    """Two contenders at one target: accuracy at equal measured latency, or who is faster and no less accurate."""

    first: Contender
    second: Contender
    accuracy_difference: float = Field(description="first minus second, as a fraction")
    ci_low: float
    ci_high: float
    latency_ratio: Ratio = Field(description="first to second")
    equally_fast: bool = Field(description="the latency ratio's interval lies in [0.97, 1.03]")
    verdict: Literal["first", "second", "tied", "first_faster", "second_faster", "not_comparable"] = Field(
        description="first, second: more accurate and no slower; *_faster: faster, with no difference in accuracy shown"
    )
    doubts: list[str] = Field(default=[], description="flags of either latency, which keep it from being ranked")
    sentence: str
    against_best_filter: bool = Field(
        default=False, description="the second is the better filter family here, by validation accuracy"
    )
    at_equal_latency: AtEqualLatency | None = Field(
        default=None, description="null where one of the two has no plans on both sides of the other's latency"
    )


class TargetComparison(Wire):
    target: str
    target_ratio: float | None
    contenders: list[Contender]
    duels: list[Duel]
    missing: dict[str, str] = Field(default={}, description="family -> why it has no variant here")
    winners: list[Family] = Field(
        default=[],
        description="one: shown to beat the others at equal latency; several: tied; empty with fewer than two",
    )


class FamilyReach(Wire):
    family: Family
    lowest_ratio: float | None = Field(description="lowest swept or measured latency, as a ratio of the base's")
    stopped_by: str
    hypervolume: Interval | None = Field(
        default=None,
        description="area under the family's front, from the base's latency down and from `reference_accuracy` up",
    )


class FormDuel(Wire):
    """One criterion at one target: what it chooses as layers against what it chooses as filters, at equal latency."""

    criterion: str
    target: str
    first: Family
    second: Family
    at_equal_latency: AtEqualLatency | None = None
    sentence: str


class AccuracyLevel(Wire):
    """What latency two families need for the same test accuracy, as ratios of the base's."""

    accuracy: float
    first: Ratio
    second: Ratio
    latency_ratio: Ratio = Field(description="first to second; below 1 the first is faster at this accuracy")


class Crossover(Wire):
    """Where the more accurate family changes: it is shown on either side of the interval, not within it."""

    ratio: float = Field(description="where the fronts meet, as a ratio of the base's latency")
    ci_low: float
    ci_high: float
    below: Family = Field(description="more accurate at lower latencies")
    above: Family = Field(description="more accurate at higher latencies")


class FrontDuel(Wire):
    """Two families' whole fronts: latency at equal accuracy, and whether the better one changes."""

    first: Family
    second: Family
    levels: list[AccuracyLevel]
    crossover: Crossover | None = Field(default=None, description="null: none is shown")
    sentence: str


class DeviceComparison(Wire):
    device: str
    runtime: str
    precision: str
    batch_size: int
    threads: int
    comparable_key: Digest
    base_p50_ns: int
    base_accuracy: Accuracy
    noise_floor: float | None = Field(
        default=None, description="|log ratio| below which latencies are tied here; null: not known yet, 1 % counts"
    )
    targets: list[TargetComparison]
    reach: list[FamilyReach]
    summary: str
    control: list[str] = Field(
        default=[], description="for each family and criterion: does it do better than random? Empty without random"
    )
    forms: list[FormDuel] = Field(default=[], description="each criterion against its own other form, by target")
    fronts: list[FrontDuel] = []
    reference_accuracy: float | None = Field(
        default=None, description="the lowest test accuracy measured here: where hypervolumes begin"
    )
    defects: list[str] = Field(default=[], description="hybrids that lose to a family which they contain")


class Comparison(Wire):
    """Per device and condition: which family wins where, with intervals, in numbers and in words."""

    job: str
    model: str
    dataset: str
    complete: bool
    devices: list[DeviceComparison]
    notes: list[str] = []


class MatrixCell(Wire):
    """One target at one place."""

    target: str
    winners: list[Family] = Field(description="one: shown to be the most accurate; several: tied; none: no comparison")
    ratios: dict[str, float] = Field(description="family -> latency of its contender as a ratio of this place's base")
    accuracies: dict[str, float] = Field(description="family -> test accuracy of its contender")


class MatrixRow(Wire):
    """One device under one condition."""

    job: str
    device: str
    runtime: str
    precision: str
    batch_size: int
    threads: int
    comparable_key: Digest
    base_p50_ns: int
    cells: list[MatrixCell]


class Matrix(Wire):
    """Which family wins where: a row per device, runtime, precision, batch and threads, a column per target."""

    model: str
    dataset: str
    targets: list[str]
    rows: list[MatrixRow]
    summary: str


class LatencyPair(Wire):
    """One row's latency against the reference's."""

    measurement: str
    label: str
    p50_ns: int
    ratio: Ratio = Field(description="to the reference")
    verdict: Versus = Field(description="shown among all pairs together and beyond the device's noise, or tied")
    doubts: list[str] = Field(default=[], description="flags of either row, which keep them from being told apart")
    sentence: str


class LatencyComparison(Wire):
    """Rows that were measured under equal conditions, each against the first one."""

    reference: str
    label: str
    p50_ns: int
    comparable_key: Digest
    least_effect: float = Field(description="|log ratio| up to which latencies are tied here")
    pairs: list[LatencyPair]
