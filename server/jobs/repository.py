"""Queries on jobs, their history and their pace."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.jobs import TaskKind
from server.models import Attempt, Event, Job, Task

from .estimate import RULE_OF_THUMB, SESSIONS_PER_GROUP, Pace

KINDS = get_args(TaskKind)
HISTORY = 50
"""Attempts per kind that the pace is taken from, the latest first."""


def find(session: Session, project_id: int, public_id: str) -> Job | None:
    """Find a job of the project."""
    return session.scalar(select(Job).where(Job.project_id == project_id, Job.public_id == public_id))


def find_by_key(session: Session, project_id: int, key: str) -> Job | None:
    """Find the job that was submitted with an idempotency key."""
    return session.scalar(select(Job).where(Job.project_id == project_id, Job.idempotency_key == key))


def list_page(session: Session, project_id: int, *, limit: int, before: int | None, state: str | None) -> Sequence[Job]:
    """List jobs, the newest first, from below the internal id `before`."""
    statement = select(Job).where(Job.project_id == project_id).order_by(Job.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(Job.id < before)
    if state is not None:
        statement = statement.where(Job.state == state)
    return session.scalars(statement).all()


def list_events(session: Session, job: Job, *, after: int, limit: int) -> Sequence[tuple[Event, str | None]]:
    """List a job's events after a sequence number, each with the public id of its task."""
    statement = (
        select(Event, Task.public_id)
        .outerjoin(Task, Event.task_id == Task.id)
        .where(Event.job_id == job.id, Event.id > after)
        .order_by(Event.id)
        .limit(limit)
    )
    return session.execute(statement).all()


def pace(session: Session, project_id: int, model: str, dataset: str) -> Pace:
    """How long each step took in earlier jobs with this model and data set, or a rule of thumb."""
    taken = {kind: _taken(session, project_id, model, dataset, kind) for kind in KINDS}
    if not taken["score"] or not taken["build"]:
        return RULE_OF_THUMB
    return Pace(
        score_s=median(seconds for seconds, _ in taken["score"]),
        sweep_s=median(
            [seconds for seconds, task in taken["sweep"] if not task.payload.get("round")] or [RULE_OF_THUMB.sweep_s]
        ),
        search_s=median([seconds for seconds, _ in taken["search"]] or [0.0]),
        trial_s=median(
            [seconds / len(task.payload["plans"]) for seconds, task in taken["trial"]] or [RULE_OF_THUMB.trial_s]
        ),
        build_s=median(seconds / task.payload["training"]["epochs"] for seconds, task in taken["build"]),
        measure_s=median(
            [
                seconds / -(-len(task.payload["variants"]) // SESSIONS_PER_GROUP)
                for seconds, task in taken["measure"]
                if task.payload["condition"]["budget"] == "quick"
            ]
            or [RULE_OF_THUMB.measure_s]
        ),
        basis=f"{len(taken['build'])} trainings of this model on this data set on this server",
    )


def _taken(session: Session, project_id: int, model: str, dataset: str, kind: str) -> list[tuple[float, Task]]:
    rows = session.execute(
        select(Attempt, Task)
        .join(Task, Attempt.task_id == Task.id)
        .join(Job, Task.job_id == Job.id)
        .where(
            Job.project_id == project_id,
            Job.model == model,
            Job.dataset == dataset,
            Task.kind == kind,
            Attempt.state == "done",
            Attempt.finished_at.is_not(None),
        )
        .order_by(Attempt.id.desc())
        .limit(HISTORY)
    )
    return [((attempt.finished_at - attempt.started_at) / 1e6, task) for attempt, task in rows if attempt.finished_at]
