"""What follows when a task of a job has ended: score, sweep, select, build, measure.

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
from layerprune.api.jobs import JobRequest
from layerprune.api.tasks import BuildResult, Condition, MeasureResult, ScoreResult, SweepResult
from layerprune.api.wire import Wire
from server.artifacts import service as artifacts
from server.artifacts.store import LocalStore
from server.context import StageContext
from server.errors import bad_input
from server.measurements import ingest
from server.models import Attempt, Candidate, Device, Job, JobDevice, SweepPoint, Task, Variant

from . import creation, outcome, planning, results
from .estimate import conditions

ENDED = ("done", "failed", "cancelled")
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
    if task.kind == "score":
        scored = _parse(ScoreResult, result)
        attempt.seconds = scored.seconds
        _after_score(ctx, task, results.store_score(ctx.session, task, attempt, scored, now=ctx.now), scored)
    elif task.kind == "sweep":
        swept = _parse(SweepResult, result)
        attempt.seconds = swept.seconds
        ingest.store_sweep(ctx.session, task, attempt, swept, _path_of(ctx, task.job))
        _after_sweep(ctx, task)
    elif task.kind == "build":
        built = _parse(BuildResult, result)
        attempt.seconds = built.network.seconds
        results.store_build(ctx.session, task, attempt, built, now=ctx.now)
        _after_build(ctx, task)
    else:
        measured = _parse(MeasureResult, result)
        attempt.seconds = measured.seconds
        ingest.store_measurements(ctx.session, task, attempt, measured, _path_of(ctx, task.job), now=ctx.now)
        _after_measure(ctx, task)


def on_task_end(ctx: StageContext, task: Task) -> None:
    """Note that a task failed or was cancelled for good, and go on with what the others gave."""
    job = task.job
    if job.state in ENDED:
        return
    job.notes = [*job.notes, f"{task.title} failed: {task.reason}: {task.message or 'no message'}"]
    if task.kind == "score":
        outcome.fail(ctx.session, job, task.reason or "infra", task.message or "scoring failed", now=ctx.now)
    elif task.kind == "sweep":
        _after_sweep(ctx, task)
    elif task.kind == "build":
        _after_build(ctx, task)
    else:
        _after_measure(ctx, task)


def _after_score(ctx: StageContext, task: Task, base: Variant, scored: ScoreResult) -> None:
    job = task.job
    request = JobRequest.model_validate(job.request)
    if not scored.candidates:
        message = f"nothing can be pruned: {planning.what_is_reachable(job) or 'no plan was found'}"
        outcome.fail(ctx.session, job, "target_unreachable", message, now=ctx.now)
    elif request.pruning.amounts:
        _build_chosen(ctx, job)
    else:
        for device in _devices(ctx.session, job):
            for condition in conditions(request):
                if _is_aimed_at(request, device, condition):
                    creation.sweep(ctx, job, device, condition, base, scored)


def _after_sweep(ctx: StageContext, task: Task) -> None:
    job = task.job
    if not _all_ended(ctx.session, task):
        return
    swept = select(SweepPoint.id).join(Task, SweepPoint.task_id == Task.id).where(Task.job_id == job.id).limit(1)
    if ctx.session.scalar(swept) is None:
        outcome.fail(ctx.session, job, task.reason or "infra", task.message or "no sweep succeeded", now=ctx.now)
        return
    _build_chosen(ctx, job)


def _build_chosen(ctx: StageContext, job: Job) -> None:
    request = JobRequest.model_validate(job.request)
    selection = planning.choose(ctx.session, job, max_trainings=ctx.settings.max_trainings)
    job.notes = [*job.notes, *selection.notes]
    if not selection.picks:
        message = f"no family reaches any target. {'; '.join(selection.notes)}"
        outcome.fail(ctx.session, job, "target_unreachable", message, now=ctx.now)
        return
    for pick in selection.picks:
        candidates = ctx.session.scalars(
            select(Candidate)
            .where(Candidate.job_id == job.id, Candidate.plan_hash == pick.plan_hash)
            .order_by(Candidate.family != pick.family, Candidate.id)
        ).all()
        candidates[0].selected = True
        for seed in request.training.seeds:
            creation.build(ctx, job, candidates[0], seed)


def _after_build(ctx: StageContext, task: Task) -> None:
    job = task.job
    if not _all_ended(ctx.session, task):
        return
    variants = ctx.session.scalars(
        select(Variant).where(Variant.job_id == job.id, Variant.family != "base").order_by(Variant.id)
    ).all()
    if not variants:
        outcome.fail(ctx.session, job, task.reason or "build_failed", "no variant could be built", now=ctx.now)
        return
    request = JobRequest.model_validate(job.request)
    for device in _devices(ctx.session, job):
        swept = _swept_ratios(ctx.session, job, device)
        # Variants that are about equally fast come to stand in one group, where their ratio is measured best.
        ordered = sorted(variants, key=lambda v: (swept.get(v.architecture, 1 - v.amount), v.id))
        for condition in conditions(request):
            creation.measure(ctx, job, device, condition, ordered)


def _after_measure(ctx: StageContext, task: Task) -> None:
    if _all_ended(ctx.session, task):
        outcome.decide(ctx.session, task.job, now=ctx.now)


def _all_ended(session: Session, task: Task) -> bool:
    """Whether every task of this kind of the job has ended; this one has, whatever its row says yet."""
    others = select(Task.id).where(
        Task.job_id == task.job_id, Task.kind == task.kind, Task.id != task.id, Task.state.not_in(ENDED)
    )
    return session.scalar(others.limit(1)) is None


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


def _devices(session: Session, job: Job) -> list[Device]:
    rows = select(Device).join(JobDevice, JobDevice.device_id == Device.id).where(JobDevice.job_id == job.id)
    return list(session.scalars(rows.order_by(Device.name)))


def _is_aimed_at(request: JobRequest, device: Device, condition: Condition) -> bool:
    return any(
        planning.applies(target, device=device.name, batch_size=condition.batch_size, precision=condition.precision)
        for target in request.pruning.target_list()
    )


def _swept_ratios(session: Session, job: Job, device: Device) -> dict[str, float]:
    rows = (
        select(SweepPoint.architecture, SweepPoint.low_ratio)
        .join(Task, SweepPoint.task_id == Task.id)
        .where(Task.job_id == job.id, SweepPoint.device_id == device.id)
        .order_by(SweepPoint.id)
    )
    return {architecture: swept for architecture, swept in session.execute(rows)}  # noqa: C416
