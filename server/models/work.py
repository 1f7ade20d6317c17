"""Jobs, their tasks, the attempts at them, and what happened."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from server.ids import new_id

from .access import Device, Worker
from .base import Base, Key


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
    checkpoint: Mapped[str | None] = mapped_column(String(64))
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
