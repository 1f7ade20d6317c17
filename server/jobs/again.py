"""Measure once more what came out doubtful, and say which of the two measurements counts.

A measurement with a flagged row is repeated once, as a whole, after everything that is queued already. The one with
fewer flagged rows counts, of two alike the second; latency has no say in it, so the repetition favours nobody. The
other one is kept, is shown with its variants, and is neither ranked nor compared.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.tasks import MeasurePayload
from layerprune.flags import doubts
from server.context import StageContext
from server.models import Attempt, Measurement, Task
from server.tasks import queue as tasks

SUFFIX = ":again"
"""Ends the key of a task that repeats the one with the rest of the key; keys are unique, so there is one at most."""
SEED_STEP = 1_000_000
"""The repetition visits the sessions in other orders."""


LASTING = frozenset({"not_coresident", "output_mismatch", "unproven_backend"})
"""Flags that would be raised again: repeating such a measurement tells nothing new."""


def after(ctx: StageContext, task: Task) -> None:
    """After a measurement is stored, ask for its repetition if it is doubtful; after that, decide which one counts."""
    rows = _rows(ctx.session, task)
    if is_repetition(task):
        _settle(ctx.session, task, rows)
    elif why := reasons([row for row in rows if row.ranked]):
        _repeat(ctx, task, why)


def is_repetition(task: Task) -> bool:
    return task.kind == "measure" and task.key.endswith(SUFFIX)


def reasons(rows: Sequence[Measurement]) -> str:
    """Name the flags of doubtful rows that another measurement may be without; empty if there are none."""
    return ", ".join(sorted({flag for row in rows for flag in doubts(row.flags)} - LASTING))


def _repeat(ctx: StageContext, task: Task, why: str) -> None:
    payload = MeasurePayload.model_validate(task.payload)
    tasks.create(
        ctx.session,
        job=task.job,
        kind="measure",
        key=task.key + SUFFIX,
        title=f"{task.title}, again because of {why}",
        payload=payload.model_copy(update={"seed": payload.seed + SEED_STEP}),
        inputs=task.inputs,
        role="measure",
        device_id=task.device_id,
        requirements=task.requirements,
        now=ctx.now,
    )


def _settle(session: Session, task: Task, second: Sequence[Measurement]) -> None:
    key = task.key.removesuffix(SUFFIX)
    asked = select(Task).where(Task.job_id == task.job_id, Task.kind == "measure", Task.key == key)
    first = _rows(session, session.scalars(asked).one())
    counts = [sum(row.verdict == "flagged" for row in rows) for rows in (first, second)]
    second_counts = counts[1] <= counts[0]
    for row in first if second_counts else second:
        row.superseded = True
    which = "second" if second_counts else "first"
    note = (
        f"{task.title}: {counts[0]} of {len(first)} rows were flagged at first, {counts[1]} the second time; "
        f"the {which} measurement counts"
    )
    task.job.notes = [*task.job.notes, note]


def _rows(session: Session, task: Task) -> Sequence[Measurement]:
    own = select(Measurement).join(Attempt, Measurement.attempt_id == Attempt.id).where(Attempt.task_id == task.id)
    return session.scalars(own.order_by(Measurement.id)).all()
