"""Take what a task of a job brought back, and go on from there.

Everything here runs in the transaction that stores the task's result, so a job never stands between two stages.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.errors import BadInput
from layerprune.api.tasks import BuildResult, MeasureResult, ScoreResult, SearchResult, SweepResult, TrialResult
from layerprune.api.wire import Wire
from server.artifacts import service as artifacts
from server.artifacts.store import LocalStore
from server.context import StageContext
from server.errors import bad_input
from server.measurements import ingest
from server.models import Attempt, Job, Task

from . import creation, following, outcome, results, trials

Result = TypeVar("Result", bound=Wire)
_TIMED: dict[str, type[SweepResult] | type[MeasureResult]] = {"sweep": SweepResult, "measure": MeasureResult}


def start(ctx: StageContext, job: Job) -> None:
    """Create a new job's first task."""
    creation.score(ctx, job)


def prepare(session: Session, store: LocalStore, attempt_id: str, result: dict[str, object]) -> None:
    """Do the costly part of checking a result before the transaction that takes it; that one says what is wrong."""
    task = session.scalar(select(Task).join(Attempt, Attempt.task_id == Task.id).where(Attempt.public_id == attempt_id))
    if task is None or task.kind not in _TIMED:
        return
    with suppress(BadInput):
        parsed = _parse(_TIMED[task.kind], result)
        ingest.prepare(parsed, seed=task.payload["seed"], path_of=lambda digest: _known_path(store, digest))


def on_result(ctx: StageContext, task: Task, attempt: Attempt, result: dict[str, object]) -> None:
    """Check and store a task's result and create what comes next; raises BadInput if the result cannot be right."""
    session = ctx.session
    if task.kind == "score":
        scored = _parse(ScoreResult, result)
        attempt.seconds = scored.seconds
        results.store_score(session, task, attempt, scored, now=ctx.now)
        following.after_score(ctx, task, scored)
    elif task.kind == "sweep":
        swept = _parse(SweepResult, result)
        attempt.seconds = swept.seconds
        ingest.store_sweep(session, task, attempt, swept, _path_of(ctx, task.job), now=ctx.now)
    elif task.kind == "search":
        searched = _parse(SearchResult, result)
        attempt.seconds = searched.seconds
        results.store_search(session, task, searched)
    elif task.kind == "trial":
        tried = _parse(TrialResult, result)
        attempt.seconds = tried.seconds
        trials.store(session, task, tried)
    elif task.kind == "build":
        built = _parse(BuildResult, result)
        attempt.seconds = built.network.seconds
        results.store_build(session, task, attempt, built, now=ctx.now)
    else:
        measured = _parse(MeasureResult, result)
        attempt.seconds = measured.seconds
        ingest.store_measurements(session, task, attempt, measured, _path_of(ctx, task.job), now=ctx.now)
    session.flush()
    if task.kind != "score":
        _AFTER[task.kind](ctx, task)


def on_task_end(ctx: StageContext, task: Task) -> None:
    """Note that a task failed or was cancelled for good, and go on with what the others gave."""
    job = task.job
    if job.state in following.ENDED:
        return
    job.notes = [*job.notes, f"{task.title} failed: {task.reason}: {task.message or 'no message'}"]
    if task.kind == "score":
        outcome.fail(ctx.session, job, task.reason or "infra", task.message or "scoring failed", now=ctx.now)
    else:
        _AFTER[task.kind](ctx, task)


_AFTER: dict[str, Callable[[StageContext, Task], None]] = {
    "sweep": following.after_sweep,
    "search": following.after_search,
    "trial": following.after_trial,
    "build": following.after_build,
    "measure": following.after_measure,
}


def _parse(kind: type[Result], result: dict[str, object]) -> Result:
    try:
        return kind.model_validate(result)
    except ValidationError as error:
        raise bad_input(error, within=("result",)) from error


def _known_path(store: LocalStore, digest: str) -> Path:
    # A digest from a result may be any text; only the name of stored content may become a path.
    if re.fullmatch(r"[0-9a-f]{64}", digest) is None or not store.exists(digest):
        raise BadInput(f"there is no artifact {digest!r}", field="samples", value=digest)
    return store.path(digest)


def _path_of(ctx: StageContext, job: Job) -> Callable[[str], Path]:
    def path_of(digest: str) -> Path:
        artifacts.reference(ctx.session, job.project_id, digest, "samples")
        return ctx.store.path(digest)

    return path_of
