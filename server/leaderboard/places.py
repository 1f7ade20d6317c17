"""What a job measured, place by place: a device under one condition, with the plans that stand there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from layerprune.api.jobs import JobRequest
from layerprune.api.pruning import Family
from layerprune.api.tasks import Condition
from server.jobs.places import place
from server.measurements.noise import least_effect
from server.measurements.ratios import estimate
from server.models import Attempt, Candidate, Job, Measurement, SweepPoint, Task, Variant

from .contenders import Entrant, Goal, Run, Swept


@dataclass(frozen=True, eq=False)
class Place:
    """One attempt at measuring: its first base row, and everything that the job has there.

    `families` are those that the job asked for, in the order in which they are shown; `base` has the latency ratio 1.
    `least_effect` is the |log ratio| up to which latencies are tied here.
    """

    row: Measurement
    base_p50_ns: int
    base: Entrant
    entrants: tuple[Entrant, ...]
    families: tuple[Family, ...]
    goals: tuple[Goal, ...]
    swept: Mapping[Family, Sequence[Swept]]
    doubtful: int
    least_effect: float

    def of(self, family: Family, criterion: str | None = None) -> list[Entrant]:
        """Return a family's plans, or those that one criterion chose."""
        own = [entrant for entrant in self.entrants if entrant.family == family]
        return own if criterion is None else [entrant for entrant in own if criterion in entrant.criteria]


def load(session: Session, job: Job, request: JobRequest) -> list[Place]:
    """Read every place of a job."""
    rows = session.scalars(
        select(Measurement)
        .where(Measurement.job_id == job.id, Measurement.superseded.is_(False))
        .options(joinedload(Measurement.variant), joinedload(Measurement.conditions), joinedload(Measurement.device))
        .order_by(Measurement.id)
    ).all()
    by_attempt: dict[int, list[Measurement]] = defaultdict(list)
    for row in rows:
        by_attempt[row.attempt_id].append(row)
    return [_place(session, job, request, measured) for measured in by_attempt.values()]


def _place(session: Session, job: Job, request: JobRequest, rows: Sequence[Measurement]) -> Place:
    bases = [row for row in rows if row.role == "base"]
    variants = [row for row in rows if row.role == "variant"]
    base_p50_ns = round(median(row.p50_ns for row in bases))
    measured = select(Task).join(Attempt, Attempt.task_id == Task.id).where(Attempt.id == bases[0].attempt_id)
    condition = _condition(session.scalars(measured).one())
    return Place(
        row=bases[0],
        base_p50_ns=base_p50_ns,
        base=_base(bases[0]),
        entrants=tuple(_entrants(variants, request.pruning.criteria)),
        families=tuple(_families(request)),
        goals=tuple(_goals(request, bases[0].device.name, condition, base_p50_ns)),
        swept=_swept(session, job, bases[0].device_id, condition),
        doubtful=sum(row.verdict != "stable" for row in variants),
        least_effect=least_effect(bases[0].noise_floor),
    )


def _families(request: JobRequest) -> list[Family]:
    families: list[Family] = ["layer"] if "layer" in request.pruning.methods else []
    if "filter" in request.pruning.methods:
        alignments = request.pruning.filters.alignments
        families += ["filter"] if 1 in alignments else []
        families += ["filter_aligned"] if max(alignments) > 1 else []
    families += ["hybrid"] if "hybrid" in request.pruning.methods else []
    return families + (["handcrafted"] if request.rivals else [])


def _goals(request: JobRequest, device: str, condition: Condition, base_p50_ns: int) -> list[Goal]:
    """What the job aims at here: its targets, or its amounts."""
    if request.pruning.amounts:
        return [Goal(f"{amount:.0%} of the MACs removed", amount=amount) for amount in request.pruning.amounts]
    goals = []
    for target in request.pruning.target_list():
        placed = place(target, device, condition, base_p50_ns=base_p50_ns)
        if placed is not None:
            label = f"{target.latency_ms:g} ms" if target.ratio is None else f"{target.ratio:g} of the base's latency"
            goals.append(Goal(label, ratio=placed.ratio, why_not=placed.note or ""))
    return goals


def _base(row: Measurement) -> Entrant:
    """The unpruned network, which is the unit of latency."""
    run = _run(row)
    # The groups have a base each and their own flags; those are on the ratios of the variants in them.
    return _entrant([replace(run, is_stable=True)], row, order=0)


def _entrants(rows: Sequence[Measurement], criteria: Sequence[str]) -> list[Entrant]:
    """The measured plans; a variant that does not compute what it was trained to is left out."""
    by_plan: dict[str, list[Measurement]] = defaultdict(list)
    for row in rows:
        if row.verdict != "invalid":
            by_plan[row.variant.plan_hash].append(row)
    found = []
    for own in by_plan.values():
        runs = [_run(row) for row in sorted(own, key=lambda row: row.variant.training_seed)]
        named = [criteria.index(name) for name in own[0].variant.criteria if name in criteria]
        found.append(_entrant(runs, own[0], order=min(named, default=len(criteria))))
    return found


def _entrant(runs: Sequence[Run], row: Measurement, *, order: int) -> Entrant:
    return Entrant(
        plan_hash=row.variant.plan_hash,
        label=row.variant.label,
        family=row.variant.family,  # type: ignore[arg-type]
        criteria=tuple(row.variant.criteria),
        order=order,
        amount=row.variant.amount,
        runs=tuple(runs),
    )


def _run(row: Measurement) -> Run:
    bits = np.unpackbits(np.frombuffer(row.outcomes, dtype=np.uint8))[: row.n_images].astype(bool)
    return Run(
        variant=row.variant.public_id,
        seed=row.variant.training_seed,
        validation_correct=row.variant.validation_correct,
        validation_n=row.variant.validation_n,
        outcomes=bits,
        p50_ns=row.p50_ns,
        ratio=estimate(row),
        flags=tuple(row.flags),
        is_stable=row.verdict == "stable",
        group=(row.attempt_id, row.group_no),
        samples=row.samples_sha256,
    )


def _swept(session: Session, job: Job, device_id: int, condition: Condition) -> dict[Family, list[Swept]]:
    """Every plan that the sweeps timed on this device under this condition, by family."""
    asked = select(Task).where(Task.job_id == job.id, Task.kind == "sweep", Task.device_id == device_id)
    tasks = [task.id for task in session.scalars(asked) if _condition(task) == condition]
    trained = set(session.scalars(select(Variant.plan_hash).where(Variant.job_id == job.id)))
    timed = session.execute(
        select(Candidate.family, Candidate.plan_hash, SweepPoint.low_ratio)
        .join(SweepPoint, SweepPoint.architecture == Candidate.architecture)
        .where(Candidate.job_id == job.id, SweepPoint.task_id.in_(tasks))
    )
    swept: dict[Family, list[Swept]] = defaultdict(list)
    for family, plan_hash, ratio in timed:
        swept[family].append(Swept(ratio, plan_hash in trained))  # type: ignore[index]
    return swept


def _condition(task: Task) -> Condition:
    return Condition.model_validate(task.payload["condition"])
