"""Rows of the leaderboard, and a variant with all that is known of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .device_reports import Unranked
from .network import Preprocess
from .pruning import Family
from .timings import SessionFacts
from .training import Accuracies, EpochRecord
from .why import Explanation
from .wire import Digest, Proportion, Ratio, Wire

Verdict = Literal["stable", "flagged", "invalid"]
Versus = Literal["faster", "slower", "tied"]


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


class PartTiming(Wire):
    """What the inferences of a session spent on one part, such as the device's own computing time."""

    p50_ns: int
    p90_ns: int | None = None
    p99_ns: int | None = None
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
    p95_ns: int | None = Field(default=None, description="null when the sample is too small for it")
    p99_ns: int | None = Field(description="null when the sample is too small for it")
    p999_ns: int | None = Field(default=None, description="null when the sample is too small for it")
    n_samples: int
    ratio: Ratio | None = Field(description="to the base in the same group; null for the base itself")
    low_ratio: Ratio | None = Field(default=None, description="the same by 10th percentiles")
    versus_base: Versus | None = Field(
        default=None,
        description="tied: within the noise floor, or not shown among all rows of these conditions; null: not ranked",
    )
    noise_floor: float | None = Field(
        default=None, description="of the device when this was measured, as |log ratio|; null: not known yet"
    )
    parts: dict[str, PartTiming] = Field(default={}, description="device, enqueue, to_device, from_device, where known")
    facts: SessionFacts = Field(default=SessionFacts(), description="as the worker reported it")
    steps: int = Field(default=1, description="in how many steps it was pruned, with training in between")
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
    superseded: bool = Field(default=False, description="measured again since, and the other measurement counts")
    comparable_key: Digest
    downloads: Downloads
    measured_at: int


class Leaderboard(Wire):
    rows: list[LeaderboardRow]
    next_cursor: str | None = None
    total: int
    comparable_keys: list[str] = Field(description="more than one: rows across them are listed, not ranked")
    unranked: list[Unranked] = Field(
        default=[], description="measured rows that wait for a report on their device; on the first page alone"
    )


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
    steps: int = Field(default=1, description="in how many steps it was pruned, with training in between")
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
    explanations: list[Explanation] = Field(
        default=[], description="where it is slower than its MACs promise, the latest first"
    )
    created_at: int
