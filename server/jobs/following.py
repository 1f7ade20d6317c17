"""What comes next when a step of a job has ended: score, sweep, search, sweep, select, trial, build, measure."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.jobs import JobRequest
from layerprune.api.tasks import ScoreResult, SearchPayload
from server.context import StageContext
from server.models import Candidate, Job, SweepPoint, Task, Variant

from . import again, creation, outcome, places, planning, rounds, timing, trials
from .conditions import conditions, offers
from .trials import Decision

ENDED = ("done", "failed", "cancelled")


def after_score(ctx: StageContext, task: Task, scored: ScoreResult) -> None:
    """Have the untrained architectures timed, or choose at once where the job names amounts."""
    job = task.job
    request = JobRequest.model_validate(job.request)
    if not scored.candidates and not scored.edits:
        message = f"nothing can be pruned: {planning.what_is_reachable(job) or 'no plan was found'}"
        outcome.fail(ctx.session, job, "target_unreachable", message, now=ctx.now)
    elif request.pruning.amounts:
        _choose(ctx, job)
    else:
        rounds.begin(ctx, job, scored)


def after_sweep(ctx: StageContext, task: Task) -> None:
    """Ask for the rest of a sweep that only began; once all have ended, search, or choose."""
    job = task.job
    if task.state == "done":
        rounds.go_on(ctx, task)
    if not _all_ended(ctx.session, task):
        return
    swept = select(SweepPoint.id).join(Task, SweepPoint.task_id == Task.id).where(Task.job_id == job.id).limit(1)
    if ctx.session.scalar(swept) is None:
        outcome.fail(ctx.session, job, task.reason or "infra", task.message or "no sweep succeeded", now=ctx.now)
    elif not rounds.search(ctx, job):
        _choose(ctx, job)


def after_search(ctx: StageContext, task: Task) -> None:
    """Have the solutions timed; without new ones, or after a search that failed, choose from what there is."""
    round_no = SearchPayload.model_validate(task.payload).round
    if task.state != "done" or not rounds.time_solutions(ctx, task.job, round_no=round_no):
        _choose(ctx, task.job)


def after_trial(ctx: StageContext, task: Task) -> None:
    """Choose again, knowing more."""
    _choose(ctx, task.job)


def after_build(ctx: StageContext, task: Task) -> None:
    """Once all trainings have ended, have the variants measured."""
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
    swept = {place.name: place.ratios for place in places.swept(ctx.session, job)}
    devices = rounds.job_devices(ctx.session, job)
    offered = offers(ctx.session, devices)
    for device in devices:
        for condition in conditions(request, offered.get(device.id)):
            ratios = swept.get(places.name_of(device, condition), {})
            # Variants that are about equally fast come to stand in one group, where their ratio is measured best.
            ordered = sorted(variants, key=lambda v: (ratios.get(v.architecture, 1 - v.amount), v.id))
            timing.measure(ctx, job, device, condition, ordered)


def after_measure(ctx: StageContext, task: Task) -> None:
    """Have a doubtful measurement repeated; once all measurements have ended, so has the job."""
    if task.state == "done":
        again.after(ctx, task)
    if _all_ended(ctx.session, task):
        outcome.decide(ctx.session, task.job, now=ctx.now)


def _choose(ctx: StageContext, job: Job) -> None:
    """Choose the plans to train and create their trainings, or the trial that has to decide first."""
    selection = planning.choose(ctx.session, job)
    if not selection.picks:
        job.notes = [*job.notes, *selection.notes]
        message = f"no family reaches any target. {'; '.join(selection.notes)}"
        outcome.fail(ctx.session, job, "target_unreachable", message, now=ctx.now)
        return
    decision = trials.decide(ctx.session, job, selection.picks, max_trainings=ctx.settings.max_trainings)
    if decision.epochs is not None:
        trials.create(ctx, job, decision)
        return
    job.notes = [*job.notes, *selection.notes, *decision.notes]
    _build(ctx, job, decision)


def _build(ctx: StageContext, job: Job, decision: Decision) -> None:
    request = JobRequest.model_validate(job.request)
    for pick in decision.picks:
        candidates = ctx.session.scalars(
            select(Candidate)
            .where(Candidate.job_id == job.id, Candidate.plan_hash == pick.plan_hash)
            .order_by(Candidate.family != pick.family, Candidate.id)
        ).all()
        candidates[0].selected = True
        for seed in request.training.seeds:
            creation.build(ctx, job, candidates[0], seed)
    for rival in request.rivals:
        for seed in request.training.seeds:
            creation.rival(ctx, job, rival, seed)


def _all_ended(session: Session, task: Task) -> bool:
    """Whether every task of this kind of the job has ended; this one has, whatever its row says yet."""
    others = select(Task.id).where(
        Task.job_id == task.job_id, Task.kind == task.kind, Task.id != task.id, Task.state.not_in(ENDED)
    )
    return session.scalar(others.limit(1)) is None
