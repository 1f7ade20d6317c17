"""Queries on tasks and attempts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select, tuple_, update
from sqlalchemy.orm import Session, contains_eager, joinedload

from server.models import Attempt, Job, Task, Worker

BATCH = 50
KILLING = ("worker_lost", "crashed")


def lock_job(session: Session, job_id: int) -> Job:
    """Make state changes of one job wait for each other, so that of two last results one sees the other.

    On SQLite every writing transaction waits anyway. Always locked before the job's tasks and attempts.
    """
    statement = select(Job).where(Job.id == job_id).with_for_update(key_share=True)
    return session.scalars(statement, execution_options={"populate_existing": True}).one()


def queued_for(session: Session, worker: Worker, *, now: int) -> Iterator[Task]:
    """Give the queued tasks that the worker's roles and device allow, the most urgent and oldest first."""
    after: tuple[int, int] | None = None
    while True:
        statement = (
            select(Task)
            .where(
                Task.state == "queued",
                Task.not_before <= now,
                Task.role.in_(worker.roles),
                or_(Task.device_id.is_(None), Task.device_id == worker.device_id),
            )
            .order_by(Task.priority.desc(), Task.id)
            .limit(BATCH)
        )
        if after is not None:
            statement = statement.where(tuple_(-Task.priority, Task.id) > after)
        tasks = session.scalars(statement).all()
        yield from tasks
        if len(tasks) < BATCH:
            return
        after = (-tasks[-1].priority, tasks[-1].id)


def take(session: Session, task: Task) -> int | None:
    """Lease a queued task and give its new fencing number; None if somebody else was faster."""
    free = select(Task.id).where(Task.id == task.id, Task.state == "queued").with_for_update(skip_locked=True)
    return session.scalar(
        update(Task)
        .where(Task.id == free.scalar_subquery())
        .values(state="leased", attempt_no=Task.attempt_no + 1)
        .returning(Task.attempt_no)
        .execution_options(synchronize_session=False)
    )


def find_attempt(session: Session, public_id: str, *, worker_id: int) -> Attempt | None:
    """Find a worker's attempt; another worker's is not found."""
    statement = _with_task(select(Attempt)).where(Attempt.public_id == public_id, Attempt.worker_id == worker_id)
    return session.scalars(statement).one_or_none()


def live_attempts(session: Session, *conditions: ColumnElement[bool]) -> list[Attempt]:
    """List the attempts that hold a lease, by job, so that whoever locks their jobs does so in one order."""
    statement = _with_task(select(Attempt)).where(Attempt.state == "leased", *conditions)
    return list(session.scalars(statement.order_by(Task.job_id, Attempt.id)))


def end_attempt(session: Session, attempt: Attempt, *conditions: ColumnElement[bool], **values: Any) -> bool:
    """End an attempt if it still holds its lease and the conditions hold, in one statement; tell whether it did."""
    result = session.execute(
        update(Attempt)
        .where(Attempt.id == attempt.id, Attempt.state == "leased", *conditions)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    session.refresh(attempt)
    return result.rowcount == 1  # type: ignore[attr-defined, no-any-return]


def workers_killed(session: Session, task: Task) -> int:
    """Count the different workers that this task took down."""
    statement = select(func.count(Attempt.worker_id.distinct())).where(
        Attempt.task_id == task.id, Attempt.reason.in_(KILLING)
    )
    return session.scalar(statement) or 0


def failures(session: Session, task: Task) -> int:
    """Count the task's failed attempts; one that a stopped worker gave back in good order is none."""
    statement = select(func.count()).where(
        Attempt.task_id == task.id, Attempt.state == "failed", Attempt.reason != "given_back"
    )
    return session.scalar(statement) or 0


def _with_task(statement: Select[Attempt]) -> Select[Attempt]:
    return statement.join(Attempt.task).options(contains_eager(Attempt.task).options(joinedload(Task.job)))
