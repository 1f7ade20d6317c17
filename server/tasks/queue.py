"""Put a job's tasks into the queue, and take them out again when the job is cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.catalogue import Role
from layerprune.api.jobs import TaskKind
from layerprune.api.wire import Wire
from server.models import Job, Task
from server.notify import announce

from . import repository
from .events import record


def create(
    session: Session,
    *,
    job: Job,
    kind: TaskKind,
    key: str,
    title: str,
    payload: Wire,
    inputs: list[str],
    role: Role,
    device_id: int | None = None,
    requirements: Mapping[str, Any] | None = None,
    now: int,
) -> Task:
    """Queue a task; (job, kind, key) is unique. For the requirements see matching.py."""
    task = Task(
        job=job,
        kind=kind,
        key=key,
        title=title,
        payload=payload.model_dump(mode="json"),
        inputs=inputs,
        requirements=dict(requirements or {}),
        role=role,
        device_id=device_id,
        created_at=now,
    )
    session.add(task)
    session.flush()
    record(session, job, "task_queued", now=now, task=task, data={"kind": kind, "title": title})
    announce(session, "tasks")
    return task


def cancel_job(session: Session, job: Job, now: int) -> None:
    """Cancel a job and everything of it that is not finished; running attempts are told at once. Idempotent."""
    repository.lock_job(session, job.id)
    if job.state not in ("queued", "running"):
        return
    job.state, job.reason, job.finished_at = "cancelled", "cancelled", now
    cancel_tasks(session, job, now)
    record(session, job, "job_cancelled", now=now)


def cancel_tasks(session: Session, job: Job, now: int) -> None:
    """Cancel what is queued or leased of a job, which itself keeps its state."""
    live = repository.live_attempts(session, Task.job_id == job.id)
    for attempt in live:
        repository.end_attempt(session, attempt, state="cancelled", reason="cancelled", finished_at=now)
        announce(session, f"attempt:{attempt.public_id}")
    open_tasks = select(Task).where(Task.job_id == job.id, Task.state.in_(("queued", "leased")))
    for task in session.scalars(open_tasks.order_by(Task.id)):
        task.state, task.reason, task.finished_at = "cancelled", "cancelled", now
        record(session, job, "task_cancelled", now=now, task=task)
    session.flush()
    announce(session, "tasks")
