"""Rows of the leaderboard, and a variant with all that is known of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .network import Preprocess
from .pruning import Family
from .training import Accuracies, EpochRecord
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
