"""From the rows of a job's sweeps to the choice of plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from sqlalchemy import select as sql_select
from sqlalchemy.orm import Session

from layerprune.api.jobs import JobRequest
from layerprune.api.pruning import Target
from layerprune.api.tasks import Reach, SweepPayload
from server.models import Candidate, Job, SweepPoint, Task

from .estimate import max_plans
from .select import FAMILY_NAMES, Point, Selection, Sweep, select, select_amounts


@dataclass(frozen=True)
class Placed:
    """A target on one device: its ratio to the base there, or why it makes no sense there."""

    ratio: float | None
    note: str | None = None


@dataclass
class _Swept:
    sweeps: list[Sweep] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def choose(session: Session, job: Job, *, max_trainings: int) -> Selection:
    """Choose the plans to train from everything that was swept, or from the amounts that the job names."""
    request = JobRequest.model_validate(job.request)
    candidates = session.scalars(sql_select(Candidate).where(Candidate.job_id == job.id).order_by(Candidate.id)).all()
    limit = max_plans(request, max_trainings)
    if request.pruning.amounts:
        points = [_point(candidate, 1.0) for candidate in candidates]
        return select_amounts(points, request.pruning.amounts, criteria=request.pruning.criteria, max_plans=limit)
    swept = _swept(session, job, request, candidates)
    found = select(
        swept.sweeps,
        criteria=request.pruning.criteria,
        max_plans=limit,
        stopped_by={reach.family: reach.stopped_by for reach in reaches(job)},
    )
    return Selection(found.picks, [*swept.notes, *found.notes])


def place(target: Target, *, device: str, batch_size: int, precision: str, base_p50_ns: int) -> Placed | None:
    """Express a target as a ratio to the base on one device; None if the target is meant for another."""
    if not applies(target, device=device, batch_size=batch_size, precision=precision):
        return None
    if target.ratio is not None:
        return Placed(target.ratio)
    assert target.latency_ms is not None
    ratio = target.latency_ms * 1e6 / base_p50_ns
    if ratio < 1:
        return Placed(ratio)
    return Placed(
        None,
        f"{device}: the base takes {base_p50_ns / 1e6:.3g} ms already, a target of {target.latency_ms:.3g} ms "
        "leaves nothing to prune",
    )


def applies(target: Target, *, device: str, batch_size: int, precision: str) -> bool:
    """Whether a target is meant for this device and condition."""
    return (
        target.device in (None, device)
        and target.batch_size in (None, batch_size)
        and target.precision in (None, precision)
    )


def reaches(job: Job) -> list[Reach]:
    """How far each family can go on this network, as the score step found."""
    return [Reach.model_validate(reach) for reach in job.reach]


def what_is_reachable(job: Job) -> str:
    """Say how far each family can go and what stops it, for a job that reached nothing."""
    return "; ".join(
        f"{FAMILY_NAMES[reach.family]} removes at most {reach.max_amount:.0%} of MACs, because of {reach.stopped_by}"
        for reach in reaches(job)
    )


def _swept(session: Session, job: Job, request: JobRequest, candidates: Sequence[Candidate]) -> _Swept:
    swept = _Swept()
    tasks = session.scalars(sql_select(Task).where(Task.job_id == job.id, Task.kind == "sweep").order_by(Task.id)).all()
    for task in tasks:
        rows = session.scalars(sql_select(SweepPoint).where(SweepPoint.task_id == task.id)).all()
        if not rows or task.device is None:
            continue
        condition = SweepPayload.model_validate(task.payload).condition
        base_p50_ns = round(median(row.base_p50_ns for row in rows))
        # A sweep is short, and noise only ever adds time: the tenth percentiles are the steadier guide.
        ratios = {row.architecture: row.low_ratio for row in rows}
        placed = [
            place(
                target,
                device=task.device.name,
                batch_size=condition.batch_size,
                precision=condition.precision,
                base_p50_ns=base_p50_ns,
            )
            for target in request.pruning.target_list()
        ]
        swept.notes += [p.note for p in placed if p and p.note]
        swept.sweeps.append(
            Sweep(
                where=task.device.name,
                points=[_point(c, ratios[c.architecture]) for c in candidates if c.architecture in ratios],
                targets=[p.ratio for p in placed if p and p.ratio is not None],
            )
        )
    return swept


def _point(candidate: Candidate, ratio: float) -> Point:
    return Point(
        plan_hash=candidate.plan_hash,
        family=candidate.family,  # type: ignore[arg-type]
        criterion=candidate.criterion,
        alignment=candidate.alignment,
        scope=candidate.scope,
        amount=candidate.amount,
        ratio=ratio,
    )
