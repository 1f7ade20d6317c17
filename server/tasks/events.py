"""A job's history: rows with rising numbers, so that a stream resumes where it broke."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from server.models import Event, Job, Task
from server.notify import announce


def record(
    session: Session, job: Job, kind: str, *, now: int, task: Task | None = None, data: Mapping[str, Any] | None = None
) -> None:
    """Append an event and wake whoever follows the job, once the session commits."""
    session.add(Event(job_id=job.id, task_id=task.id if task else None, at=now, kind=kind, data=dict(data or {})))
    announce(session, f"job:{job.public_id}")
