"""Checkpoints of trainings: kept with the attempt that left them, handed to the task's next attempt."""

from __future__ import annotations

from sqlalchemy import select

from server.artifacts import service as artifacts
from server.context import StageContext
from server.models import Attempt, Task

RESUMED = ("score", "build")
"""Kinds of task whose payload has a field `resume`."""


def keep(ctx: StageContext, attempt: Attempt, digest: str | None) -> None:
    """Store what a heartbeat named as the attempt's checkpoint, in place of the one before.

    One that the project does not hold, or that the kind of task has no use for, is passed over: the beat matters more.
    """
    task = attempt.task
    if digest is None or digest == attempt.checkpoint or task.kind not in RESUMED:
        return
    if not artifacts.is_known(ctx.session, task.job.project_id, digest):
        return
    former = attempt.checkpoint
    attempt.checkpoint = digest
    ctx.session.flush()
    if former is not None and former not in task.inputs:
        artifacts.forget(ctx, task.job.project_id, former)


def hand_on(ctx: StageContext, task: Task) -> None:
    """Let the task's next attempt begin where the latest checkpoint of those before it was left."""
    latest = ctx.session.scalar(
        select(Attempt.checkpoint)
        .where(Attempt.task_id == task.id, Attempt.checkpoint.is_not(None))
        .order_by(Attempt.attempt_no.desc())
        .limit(1)
    )
    former = task.payload.get("resume")
    if latest is None or latest == former or not ctx.store.exists(latest):
        return
    task.payload = {**task.payload, "resume": latest}
    task.inputs = [*(one for one in task.inputs if one != former), latest]


def drop_ended(ctx: StageContext) -> int:
    """Forget the checkpoints of tasks that have ended, and say how many; the reaper calls it now and then."""
    left = (
        select(Attempt)
        .join(Task, Attempt.task_id == Task.id)
        .where(Attempt.checkpoint.is_not(None), Task.state.in_(("done", "failed", "cancelled")))
        .order_by(Attempt.id)
    )
    attempts = ctx.session.scalars(left).all()
    for attempt in attempts:
        digest, attempt.checkpoint = attempt.checkpoint, None
        ctx.session.flush()
        if digest is not None:
            artifacts.forget(ctx, attempt.task.job.project_id, digest)
    return len(attempts)
