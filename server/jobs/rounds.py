"""Rounds of timing and solving: what a device is asked to time within its budget, and when a search has got there.

Round 0 times what the score step wrote. Each search then solves every target from what was measured, and the next
sweep times its solutions; it ends when all targets are met, after three rounds, or when a search finds nothing new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.jobs import JobRequest
from layerprune.api.tasks import ScoreResult, SearchPlace, Solved, SweepPayload, Tried
from layerprune.targets import is_met
from server.context import StageContext
from server.models import Device, Job, JobDevice, Scoring, Solution, Task
from server.tasks.events import record

from . import bill, creation, places, timing
from .conditions import conditions, offers
from .places import Place

MAX_ROUNDS = 3
SOLUTIONS_SHARE = 1 / 3
"""How much of a device's time the first sweep leaves for what the searches will find."""


def begin(ctx: StageContext, job: Job, scored: ScoreResult) -> None:
    """Have every device time what the score step wrote; where that may exceed the budget, first a few.

    Nothing is asked for if no target is meant for a device or condition.
    """
    request = JobRequest.model_validate(job.request)
    scoring = ctx.session.get_one(Scoring, job.id)
    order = bill.by_usefulness([a["architecture"] for a in scoring.architectures], scored.candidates, scored.edits)
    files = {a["architecture"]: a["onnx"] for a in scoring.architectures}
    exported = {a["architecture"]: a for a in scoring.architectures}
    scoring.architectures = [exported[name] for name in order]
    devices = job_devices(ctx.session, job)
    offered = offers(ctx.session, devices)
    for device in devices:
        for condition in conditions(request, offered.get(device.id)):
            if places.is_aimed_at(request, device, condition):
                at_most_s = bill.surely_takes_s(len(order), macs=scored.base.macs, batch_size=condition.batch_size)
                fits = at_most_s <= request.pruning.max_sweep_minutes * 60
                first = order if fits else order[: bill.PROBE]
                data = {"device": device.name, "architectures": len(first), "of": len(order)}
                bound = {"seconds_at_most": round(at_most_s)} if fits else {}
                record(ctx.session, job, "sweep_planned", now=ctx.now, data=data | bound)
                timing.sweep(ctx, job, device, condition, {name: files[name] for name in first}, round_no=0)


def go_on(ctx: StageContext, task: Task) -> None:
    """After the first few of a device are timed, ask for the rest, the most useful as far as the budget allows."""
    job = task.job
    payload = SweepPayload.model_validate(task.payload)
    scoring = ctx.session.get_one(Scoring, job.id)
    left = {
        a["architecture"]: a["onnx"] for a in scoring.architectures if a["architecture"] not in payload.architectures
    }
    place = next(
        (
            p
            for p in places.swept(ctx.session, job)
            if p.device.id == task.device_id and p.condition == payload.condition
        ),
        None,
    )
    if payload.round == 0 and task.key.endswith(":r0") and left and place is not None:
        _sweep(ctx, job, place, left, round_no=0, part=":rest")


def search(ctx: StageContext, job: Job) -> bool:
    """Create the next search if one is wanted; tell whether it was."""
    scoring = ctx.session.get(Scoring, job.id)
    searches = ctx.session.scalars(
        select(Task).where(Task.job_id == job.id, Task.kind == "search").order_by(Task.id)
    ).all()
    over = len(searches) >= MAX_ROUNDS or any(task.state == "failed" for task in searches)
    if scoring is None or not scoring.edits or scoring.filter_scores_sha256 is None or over:
        return False
    solutions = ctx.session.scalars(select(Solution).where(Solution.job_id == job.id).order_by(Solution.id)).all()
    wanted = []
    for place in places.swept(ctx.session, job):
        own = [solution for solution in solutions if solution.place == place.name]
        targets = unmet(place, own) if searches else place.targets
        if targets and _seconds_left(job, place) > 0:
            tried = [
                Tried(solved=_solved(solution), measured=place.ratios[solution.architecture])
                for solution in own
                if solution.architecture in place.ratios
            ]
            wanted.append(SearchPlace(place=place.name, targets=targets, ratios=place.ratios, tried=tried))
    if not wanted:
        return False
    creation.search(ctx, job, scoring, wanted, round_no=len(searches) + 1)
    return True


def time_solutions(ctx: StageContext, job: Job, *, round_no: int) -> bool:
    """Have every device time the solutions of a round that it has not timed yet; tell whether there were any."""
    scoring = ctx.session.get_one(Scoring, job.id)
    files = {a["architecture"]: a["onnx"] for a in scoring.architectures}
    found = ctx.session.scalars(
        select(Solution).where(Solution.job_id == job.id, Solution.round_no == round_no).order_by(Solution.id)
    ).all()
    asked = False
    for place in places.swept(ctx.session, job):
        names = [solution.architecture for solution in found if solution.place == place.name]
        new = {name: files[name] for name in names if name not in place.ratios and name in files}
        asked |= bool(new) and _sweep(ctx, job, place, new, round_no=round_no)
    return asked


def unmet(place: Place, solutions: Sequence[Solution]) -> list[float]:
    """The targets that some family's and criterion's latest solution misses, as it was measured."""
    latest = {(s.target, s.family, s.criterion): s for s in solutions}
    missed = {
        solution.target
        for solution in latest.values()
        if solution.architecture in place.ratios and not _is_met(solution, place.ratios[solution.architecture])
    }
    return [target for target in place.targets if target in missed]


def _is_met(solution: Solution, measured: float) -> bool:
    solved = _solved(solution)
    return is_met(measured, solved.target, family=solved.family, predicted=solved.predicted)


def job_devices(session: Session, job: Job) -> list[Device]:
    """The devices on which a job measures, by name."""
    rows = select(Device).join(JobDevice, JobDevice.device_id == Device.id).where(JobDevice.job_id == job.id)
    return list(session.scalars(rows.order_by(Device.name)))


def _sweep(
    ctx: StageContext, job: Job, place: Place, architectures: Mapping[str, str], *, round_no: int, part: str = ""
) -> bool:
    """Create a sweep of what the place's budget still allows, and say what it leaves out; tell whether any is left."""
    seconds, count = _seconds_left(job, place), len(architectures)
    if round_no == 0 and ctx.session.get_one(Scoring, job.id).edits:
        seconds -= SOLUTIONS_SHARE * JobRequest.model_validate(job.request).pruning.max_sweep_minutes * 60
    allowed = bill.affordable(seconds, each_s=place.each_s, count=count)
    likely_s = allowed * place.each_s
    data = {
        "device": place.device.name,
        "architectures": allowed,
        "left_out": count - allowed,
        "seconds": round(likely_s),
    }
    record(ctx.session, job, "sweep_planned", now=ctx.now, data=data)
    if allowed < count:
        limit = JobRequest.model_validate(job.request).pruning.max_sweep_minutes
        note = (
            f"{place.device.name}{places.details(place.condition)}: {count - allowed} of {count} architectures were "
            f"not timed in round {round_no}: one takes about {place.each_s:.1f} s, and max_sweep_minutes is {limit:g}"
        )
        job.notes = [*job.notes, note]
    kept = dict(list(architectures.items())[:allowed])
    if kept:
        timing.sweep(ctx, job, place.device, place.condition, kept, round_no=round_no, part=part, likely_s=likely_s)
    return bool(kept)


def _seconds_left(job: Job, place: Place) -> float:
    return JobRequest.model_validate(job.request).pruning.max_sweep_minutes * 60 - place.spent_s


def _solved(solution: Solution) -> Solved:
    return Solved(
        place=solution.place,
        target=solution.target,
        family=solution.family,
        criterion=solution.criterion,
        plan_hash=solution.plan_hash,
        architecture=solution.architecture,
        predicted=solution.predicted,
    )
