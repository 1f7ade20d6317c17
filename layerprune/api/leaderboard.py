"""Rows of the leaderboard, and the comparison of a job's families."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .network import Preprocess
from .pruning import Family
from .tasks import Accuracies, EpochRecord
from .wire import Digest, Proportion, Ratio, Wire

Verdict = Literal["stable", "flagged", "invalid"]


class Accuracy(Proportion):
    """Correct answers out of n, as a fraction with its 95 % Wilson interval."""

    value: float
    ci_low: float
    ci_high: float


class Downloads(Wire):
    onnx: Digest
    weights: Digest
    plan: Digest
    preprocess: Digest
    samples: Digest


class LeaderboardRow(Wire):
    """One measured variant under one set of conditions."""

    measurement: str
    job: str
    variant: str
    label: str
    model: str
    dataset: str
    family: Family
    criteria: list[str]
    alignment: int | None = None
    amount: float
    training_seed: int
    device: str
    runtime: str
    precision: str
    batch_size: int
    threads: int
    p50_ns: int
    p90_ns: int | None = Field(description="null when the sample is too small for it")
    p99_ns: int | None = Field(description="null when the sample is too small for it")
    n_samples: int
    ratio: Ratio | None = Field(description="to the base in the same group; null for the base itself")
    accuracy: Accuracy
    base_accuracy: Accuracy
    params: int
    macs: int
    verdict: Verdict
    flags: list[str]
    on_front: bool
    tied_with_front: bool = Field(
        default=False,
        description="not on the front, but no stable row beats it by more than the intervals",
    )
    comparable_key: Digest
    downloads: Downloads
    measured_at: int


class Leaderboard(Wire):
    rows: list[LeaderboardRow]
    next_cursor: str | None = None
    total: int
    comparable_keys: list[str] = Field(description="more than one: rows across them are listed, not ranked")


class VariantView(Wire):
    """One trained network with everything that is known of it; null plan for the base."""

    id: str
    job: str
    label: str
    model: str
    dataset: str
    family: Family
    criteria: list[str]
    alignment: int | None
    amount: float
    training_seed: int
    plan: dict[str, Any] | None
    plan_hash: str
    architecture: str
    params: int
    macs: int
    preprocess: Preprocess
    validation: Accuracies
    test: Accuracies
    curve: list[EpochRecord]
    seconds: dict[str, float]
    exporter: str
    opset: int
    export_max_relative_difference: float
    onnx: Digest
    weights: Digest
    plan_file: Digest
    preprocess_file: Digest
    measurements: list[LeaderboardRow]
    created_at: int


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
    sentence: str
    against_best_filter: bool = Field(
        default=False, description="the second is the better filter family here, by validation accuracy"
    )


class TargetComparison(Wire):
    target: str
    target_ratio: float | None
    contenders: list[Contender]
    duels: list[Duel]
    missing: dict[str, str] = Field(default={}, description="family -> why it has no variant here")


class FamilyReach(Wire):
    family: Family
    lowest_ratio: float | None = Field(description="lowest swept or measured latency, as a ratio of the base's")
    stopped_by: str


class DeviceComparison(Wire):
    device: str
    runtime: str
    precision: str
    batch_size: int
    threads: int
    comparable_key: Digest
    base_p50_ns: int
    base_accuracy: Accuracy
    targets: list[TargetComparison]
    reach: list[FamilyReach]
    summary: str
    control: list[str] = Field(
        default=[], description="for each family and criterion: does it do better than random? Empty without random"
    )


class Comparison(Wire):
    """Per device and condition: which family wins where, with intervals, in numbers and in words."""

    job: str
    model: str
    dataset: str
    complete: bool
    devices: list[DeviceComparison]
    notes: list[str] = []
