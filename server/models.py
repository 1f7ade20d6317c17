"""The tables. Ids are UUIDv7 text in public, BIGINT inside; times are BIGINT microseconds UTC; latencies integer ns."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from .ids import new_id

Key = BigInteger().with_variant(Integer, "sqlite")
"""SQLite increments only an INTEGER primary key by itself."""


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON, int: BigInteger, str: String}  # noqa: RUF012


class Project(Base):
    """Who owns what; there is one, `default`, until somebody makes more."""

    __tablename__ = "project"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True, default=new_id)
    name: Mapped[str] = mapped_column(unique=True)


class Token(Base):
    """A secret's hash and its kind: admin, user, registration, worker, login (single use) or session (browser)."""

    __tablename__ = "token"
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True, default=new_id)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    kind: Mapped[str]
    name: Mapped[str] = mapped_column(default="")
    secret_hash: Mapped[str] = mapped_column(unique=True)
    worker_id: Mapped[int | None] = mapped_column(ForeignKey("worker.id"))
    device_id: Mapped[int | None] = mapped_column(ForeignKey("device.id"))
    created_at: Mapped[int]
    expires_at: Mapped[int | None]
    used_at: Mapped[int | None]
    revoked_at: Mapped[int | None]


class Device(Base):
    """One piece of hardware."""

    __tablename__ = "device"
    __table_args__ = (UniqueConstraint("project_id", "name"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True, default=new_id)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str]
    kind: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    facts: Mapped[dict[str, Any]]
    created_at: Mapped[int]


class Worker(Base):
    """A process that claims tasks; its row outlives the process, a restart brings a new incarnation."""

    __tablename__ = "worker"
    __table_args__ = (UniqueConstraint("project_id", "name"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True, default=new_id)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    device_id: Mapped[int | None] = mapped_column(ForeignKey("device.id"))
    name: Mapped[str]
    roles: Mapped[list[Any]]
    catalogue: Mapped[dict[str, Any]]
    incarnation: Mapped[str]
    protocol_version: Mapped[int]
    allow_null: Mapped[bool] = mapped_column(Boolean, default=False)
    registered_at: Mapped[int]
    last_seen_at: Mapped[int]
    device: Mapped[Device | None] = relationship()


class Artifact(Base):
    """Content by digest; knowing a digest grants nothing, a reference of the project does."""

    __tablename__ = "artifact"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size_bytes: Mapped[int]
    created_at: Mapped[int]


class ArtifactRef(Base):
    """Why a project holds an artifact."""

    __tablename__ = "artifact_ref"
    __table_args__ = (UniqueConstraint("project_id", "sha256", "kind"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    sha256: Mapped[str] = mapped_column(ForeignKey("artifact.sha256"), index=True)
    kind: Mapped[str]
    created_at: Mapped[int]


class Job(Base):
    """A pruning request and how far it got."""

    __tablename__ = "job"
    __table_args__ = (UniqueConstraint("project_id", "idempotency_key"), Index("ix_job_state", "state"))
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True, default=new_id)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    idempotency_key: Mapped[str | None]
    request: Mapped[dict[str, Any]]
    request_hash: Mapped[str]
    model: Mapped[str]
    dataset: Mapped[str]
    estimate: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(default="queued")
    reason: Mapped[str | None]
    message: Mapped[str | None] = mapped_column(Text)
    notes: Mapped[list[Any]] = mapped_column(default=list)
    reach: Mapped[list[Any]] = mapped_column(default=list)
    layers: Mapped[list[Any]] = mapped_column(default=list)
    evaluation_sha256: Mapped[str | None] = mapped_column(ForeignKey("artifact.sha256"))
    evaluation_images: Mapped[int | None]
    dataset_fingerprint: Mapped[str | None]
    created_at: Mapped[int]
    expires_at: Mapped[int]
    finished_at: Mapped[int | None]


class JobDevice(Base):
    """A device on which a job measures."""

    __tablename__ = "job_device"
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), primary_key=True)
    device_id: Mapped[int] = mapped_column(ForeignKey("device.id"), primary_key=True)


class Task(Base):
    """One step of a job; `attempt_no` is the fencing number, bumped by every claim."""

    __tablename__ = "task"
    __table_args__ = (
        UniqueConstraint("job_id", "kind", "key"),
        Index(
            "ix_task_queued",
            "priority",
            "id",
            sqlite_where=text("state = 'queued'"),
            postgresql_where=text("state = 'queued'"),
        ),
    )
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True, default=new_id)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"), index=True)
    kind: Mapped[str]
    key: Mapped[str] = mapped_column(default="")
    title: Mapped[str]
    payload: Mapped[dict[str, Any]]
    inputs: Mapped[list[Any]]
    requirements: Mapped[dict[str, Any]]
    role: Mapped[str]
    device_id: Mapped[int | None] = mapped_column(ForeignKey("device.id"))
    priority: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(default="queued")
    attempt_no: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[int] = mapped_column(default=0)
    reason: Mapped[str | None]
    message: Mapped[str | None] = mapped_column(Text)
    progress: Mapped[dict[str, Any] | None]
    created_at: Mapped[int]
    finished_at: Mapped[int | None]
    job: Mapped[Job] = relationship()
    device: Mapped[Device | None] = relationship()


class Attempt(Base):
    """One worker's lease on one task; at most one is live per task and per device."""

    __tablename__ = "attempt"
    __table_args__ = (
        UniqueConstraint("task_id", "attempt_no"),
        Index(
            "uq_attempt_live_task",
            "task_id",
            unique=True,
            sqlite_where=text("state = 'leased'"),
            postgresql_where=text("state = 'leased'"),
        ),
        Index(
            "uq_attempt_live_device",
            "device_id",
            unique=True,
            sqlite_where=text("state = 'leased'"),
            postgresql_where=text("state = 'leased'"),
        ),
        Index("ix_attempt_expiry", "state", "expires_at"),
    )
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    public_id: Mapped[str] = mapped_column(unique=True, default=new_id)
    task_id: Mapped[int] = mapped_column(ForeignKey("task.id"))
    attempt_no: Mapped[int]
    worker_id: Mapped[int] = mapped_column(ForeignKey("worker.id"), index=True)
    incarnation: Mapped[str]
    device_id: Mapped[int | None] = mapped_column(ForeignKey("device.id"))
    lease_hash: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(default="leased")
    started_at: Mapped[int]
    heartbeat_at: Mapped[int]
    expires_at: Mapped[int]
    finished_at: Mapped[int | None]
    reason: Mapped[str | None]
    message: Mapped[str | None] = mapped_column(Text)
    result_hash: Mapped[str | None] = mapped_column(String(64))
    seconds: Mapped[dict[str, Any]] = mapped_column(default=dict)
    task: Mapped[Task] = relationship()
    worker: Mapped[Worker] = relationship()


class OrphanResult(Base):
    """A result that came after its lease had ended: kept for diagnosis, never ranked."""

    __tablename__ = "orphan_result"
    __table_args__ = (UniqueConstraint("attempt_id", "result_hash"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempt.id"))
    result_hash: Mapped[str] = mapped_column(String(64))
    body: Mapped[dict[str, Any]]
    received_at: Mapped[int]


class Event(Base):
    """One step in a job's history; the id is the sequence number."""

    __tablename__ = "event"
    __table_args__ = (Index("ix_event_job_id", "job_id", "id"),)
    id: Mapped[int] = mapped_column(Key, primary_key=True)
    job_id: Mapped[int] = mapped_column(ForeignKey("job.id"))
    task_id: Mapped[int | None] = mapped_column(ForeignKey("task.id"))
    at: Mapped[int]
    kind: Mapped[str]
    data: Mapped[dict[str, Any]]


class Candidate(Base):
    """A plan that the score step wrote; `sweep_point` says how fast its architecture is."""

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
    """A trained network of a job: the base (no plan) or a plan applied and fine-tuned with one seed."""

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
    preprocess: Mapped[dict[str, Any]]
    validation_correct: Mapped[int]
    validation_n: Mapped[int]
    test_correct: Mapped[int]
    test_n: Mapped[int]
    accuracies: Mapped[dict[str, Any]]
    curve: Mapped[list[Any]]
    seconds: Mapped[dict[str, Any]]
    exporter: Mapped[str]
    opset: Mapped[int]
    export_difference: Mapped[float]
    created_at: Mapped[int]
    job: Mapped[Job] = relationship()


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
    precision: Mapped[str]
    batch_size: Mapped[int]
    threads: Mapped[int]
    processes: Mapped[int]
    n_samples: Mapped[int]
    p50_ns: Mapped[int]
    p90_ns: Mapped[int | None]
    p99_ns: Mapped[int | None]
    ratio: Mapped[float | None]
    ratio_low: Mapped[float | None]
    ratio_high: Mapped[float | None]
    low_ratio: Mapped[float | None]
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
