"""What came out: scores, candidates, swept latencies, solved budgets, trials, variants, measurements."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from layerprune.api.precision import form_of
from server.ids import new_id

from .access import Device
from .base import Base, Key
from .work import Job


class Candidate(Base):
    """A plan that the score step or a search wrote; `sweep_point` says how fast its architecture is."""

    __tablename__ = "candidate"
    __table_args__ = (Index("ix_candidate_job_id_plan_hash", "job_id", "plan_hash"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    plan_hash: Mapped[str] = mapped_column(String(64))
    plan: Mapped[dict[str, Any]]
    architecture: Mapped[str] = mapped_column(String(64))
    method: Mapped[str]
    family: Mapped[str]
    criterion: Mapped[str]
    alignment: Mapped[int]
    scope: Mapped[str | None]
    amount: Mapped[float]
    params: Mapped[int]
    macs: Mapped[int]
    label: Mapped[str]
    selected: Mapped[bool] = mapped_column(Boolean, default=False)


class Scoring(Base):
    """What the score step found out about a job's network, for the steps that follow it."""

    __tablename__ = "scoring"
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), primary_key=True)
    base_untrained_sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"))
    architectures: Mapped[list[Any]]
    edits: Mapped[list[Any]]
    filter_scores_sha256: Mapped[str | None] = mapped_column(ForeignKey("artifact.sha256"))
    epoch_seconds: Mapped[float | None]
    recipe: Mapped[dict[str, Any]]


class Solution(Base):
    """The plan that a search found for one target under one condition, and what it promised."""

    __tablename__ = "solution"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), index=True)
    round_no: Mapped[int]
    place: Mapped[str]
    target: Mapped[float]
    family: Mapped[str]
    criterion: Mapped[str]
    plan_hash: Mapped[str] = mapped_column(String(64))
    architecture: Mapped[str] = mapped_column(String(64))
    predicted: Mapped[float]


class TrialScore(Base):
    """How accurate a plan was on the validation images after a little training: it selects, it does not rank."""

    __tablename__ = "trial_score"
    __table_args__ = (UniqueConstraint("job_id", "epochs", "plan_hash"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    epochs: Mapped[int]
    plan_hash: Mapped[str] = mapped_column(String(64))
    correct: Mapped[int]
    n: Mapped[int]


class Conditions(Base):
    """Everything that must be equal for two latencies to be comparable; immutable."""

    __tablename__ = "conditions"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    comparable_key: Mapped[str] = mapped_column(String(64), unique=True)
    key: Mapped[dict[str, Any]]


class SweepPoint(Base):
    """The quick latency of one untrained architecture on one device: it selects, it does not rank."""

    __tablename__ = "sweep_point"
    __table_args__ = (UniqueConstraint("task_id", "architecture"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id"))
    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"))
    device_id: Mapped[int] = mapped_column(ForeignKey("device.id"))
    conditions_id: Mapped[int] = mapped_column(ForeignKey("conditions.id"))
    architecture: Mapped[str] = mapped_column(String(64))
    p50_ns: Mapped[int]
    base_p50_ns: Mapped[int]
    ratio: Mapped[float]
    ratio_low: Mapped[float]
    ratio_high: Mapped[float]
    low_ratio: Mapped[float]
    flags: Mapped[list[Any]]
    samples_sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"))


class Variant(Base):
    """A trained network of a job: the base (no plan), a plan applied and fine-tuned, or a rival (no plan)."""

    __tablename__ = "variant"
    __table_args__ = (UniqueConstraint("job_id", "plan_hash", "training_seed"), UniqueConstraint("attempt_id"))
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True, default=new_id)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"))
    plan_hash: Mapped[str] = mapped_column(String(64))
    plan: Mapped[dict[str, Any] | None]
    family: Mapped[str]
    criteria: Mapped[list[Any]]
    alignment: Mapped[int | None]
    amount: Mapped[float]
    label: Mapped[str]
    training_seed: Mapped[int]
    architecture: Mapped[str] = mapped_column(String(64))
    params: Mapped[int]
    macs: Mapped[int]
    onnx_sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"))
    weights_sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"))
    plan_sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"))
    preprocess_sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"))
    reference_sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"))
    forms: Mapped[dict[str, Any]] = mapped_column(default=dict)
    preprocess: Mapped[dict[str, Any]]
    validation_correct: Mapped[int]
    validation_n: Mapped[int]
    test_correct: Mapped[int]
    test_n: Mapped[int]
    accuracies: Mapped[dict[str, Any]]
    curve: Mapped[list[Any]]
    seconds: Mapped[dict[str, Any]]
    recipe: Mapped[dict[str, Any] | None]
    exporter: Mapped[str]
    opset: Mapped[int]
    export_difference: Mapped[float]
    created_at: Mapped[int]
    job: Mapped[Job] = relationship()

    def files(self, backend: str, precision: str) -> tuple[str, str]:
        """The ONNX file and the reference outputs (digests) with which it is measured."""
        form = form_of(backend, precision)
        if form is None:
            return self.onnx_sha256, self.reference_sha256
        return self.forms[form]["onnx"], self.forms[form]["reference_outputs"]

    def written_by(self, backend: str, precision: str) -> str:
        """What wrote the file with which it is measured."""
        form = form_of(backend, precision)
        return self.exporter if form is None else f"{self.exporter}, {self.forms[form]['tool']}"


class Measurement(Base):
    """Raw samples of one variant on one device under one set of conditions, and what follows from them. Append-only."""

    __tablename__ = "measurement"
    __table_args__ = (
        UniqueConstraint("attempt_id", "variant_id", "group_no", "role"),
        CheckConstraint("p50_ns > 0", name="latency_positive"),
        CheckConstraint("correct >= 0 AND correct <= n_images", name="accuracy_possible"),
        # Rows that no real device of the class stands behind never enter a leaderboard.
        CheckConstraint("NOT ranked OR (backend <> 'null' AND NOT emulated AND NOT unproven)", name="ranked_is_real"),
        Index("ix_measurement_conditions_id_p50_ns_id", "conditions_id", "p50_ns", "id"),
        Index("ix_measurement_device_id_role_id", "device_id", "role", "id"),
    )
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True, default=new_id)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), index=True)
    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"))
    variant_id: Mapped[int] = mapped_column(ForeignKey("variant.id"))
    device_id: Mapped[int] = mapped_column(ForeignKey("device.id"))
    conditions_id: Mapped[int] = mapped_column(ForeignKey("conditions.id"))
    group_no: Mapped[int]
    role: Mapped[str]
    backend: Mapped[str]
    emulated: Mapped[bool] = mapped_column(Boolean, default=False)
    unproven: Mapped[bool] = mapped_column(Boolean, default=False)
    ranked: Mapped[bool] = mapped_column(Boolean)
    superseded: Mapped[bool] = mapped_column(Boolean, default=False)
    precision: Mapped[str]
    batch_size: Mapped[int]
    threads: Mapped[int]
    processes: Mapped[int]
    n_samples: Mapped[int]
    p50_ns: Mapped[int]
    p90_ns: Mapped[int | None]
    p95_ns: Mapped[int | None]
    p99_ns: Mapped[int | None]
    p999_ns: Mapped[int | None]
    ratio: Mapped[float | None]
    ratio_low: Mapped[float | None]
    ratio_high: Mapped[float | None]
    low_ratio: Mapped[float | None]
    low_ratio_low: Mapped[float | None]
    low_ratio_high: Mapped[float | None]
    ratio_df: Mapped[int | None]
    noise_floor: Mapped[float | None]
    parts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    correct: Mapped[int]
    n_images: Mapped[int]
    outcomes: Mapped[bytes] = mapped_column(LargeBinary)
    output_difference: Mapped[float]
    verdict: Mapped[str]
    flags: Mapped[list[Any]]
    observed: Mapped[dict[str, Any]]
    samples_sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"))
    created_at: Mapped[int]
    variant: Mapped[Variant] = relationship()
    conditions: Mapped[Conditions] = relationship()
    device: Mapped[Device] = relationship()
    job: Mapped[Job] = relationship()


class CanaryTiming(Base):
    """What the fixed small network took during one attempt, as the worker reported it: medians over its processes.

    `canary_key` is a hash of those conditions that matter to the canary, so that all jobs of a device share a history.
    """

    __tablename__ = "canary_timing"
    __table_args__ = (Index("ix_canary_timing_device_id_canary_key_id", "device_id", "canary_key", "id"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"), unique=True)
    device_id: Mapped[int] = mapped_column(ForeignKey("device.id"))
    conditions_id: Mapped[int] = mapped_column(ForeignKey("conditions.id"))
    canary_key: Mapped[str] = mapped_column(String(64))
    start_ns: Mapped[int]
    end_ns: Mapped[int]
    is_off: Mapped[bool] = mapped_column(Boolean)
    created_at: Mapped[int]
    conditions: Mapped[Conditions] = relationship()
