"""From the rows of a job's sweeps to the choice of plans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import select as sql_select
from sqlalchemy.orm import Session

from layerprune.api.jobs import JobRequest
from layerprune.api.tasks import Reach
from server.models import Candidate, Job, Variant

from . import places
from .select import FAMILY_NAMES, Point, Selection, Sweep, select, select_amounts

NAMED = 8
"""Plans that one note names; the others are counted."""


def choose(session: Session, job: Job) -> Selection:
    """Choose the plans worth training from everything that was swept, or from the amounts that the job names."""
    request = JobRequest.model_validate(job.request)
    candidates = session.scalars(sql_select(Candidate).where(Candidate.job_id == job.id).order_by(Candidate.id)).all()
    useful, notes = _useful(session, job, candidates)
    criteria = criteria_of(request, useful)
    if request.pruning.amounts:
        found = select_amounts([_point(c, 1.0) for c in useful], request.pruning.amounts, criteria=criteria)
        return Selection(found.picks, [*notes, *found.notes])
    sweeps = []
    for where in places.swept(session, job):
        points = [_point(c, where.ratios[c.architecture]) for c in useful if c.architecture in where.ratios]
        sweeps.append(Sweep(where.label, points, where.targets))
        notes += [*where.notes, *_slower_than_the_base(where, useful)]
    found = select(sweeps, criteria=criteria, stopped_by={reach.family: reach.stopped_by for reach in reaches(job)})
    return Selection(found.picks, [*notes, *found.notes])


def criteria_of(request: JobRequest, candidates: Iterable[Candidate]) -> list[str]:
    """The criteria in the request's order, then those that searches brought in by themselves."""
    asked = list(request.pruning.criteria)
    return asked + sorted({candidate.criterion for candidate in candidates} - set(asked))


def reaches(job: Job) -> list[Reach]:
    """How far each family can go on this network, as the score step found."""
    return [Reach.model_validate(reach) for reach in job.reach]


def what_is_reachable(job: Job) -> str:
    """Say how far each family can go and what stops it, for a job that reached nothing."""
    return "; ".join(
        f"{FAMILY_NAMES[reach.family]} removes at most {reach.max_amount:.0%} of MACs, because of {reach.stopped_by}"
        for reach in reaches(job)
    )


def _useful(session: Session, job: Job, candidates: Sequence[Candidate]) -> tuple[list[Candidate], list[str]]:
    """Leave out plans that remove nothing, and say which."""
    base = session.scalars(sql_select(Variant).where(Variant.job_id == job.id, Variant.family == "base")).one()
    useless = [c for c in candidates if c.architecture == base.architecture]
    useful = [c for c in candidates if c.architecture != base.architecture]
    return useful, [f"removes nothing and is left out: {_named(useless)}"] if useless else []


def _slower_than_the_base(where: places.Place, candidates: Sequence[Candidate]) -> list[str]:
    by_family: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if where.ratios.get(candidate.architecture, 0.0) >= 1:
            by_family[candidate.family].append(candidate)
    return [
        f"{where.label}: {FAMILY_NAMES[family]} is not faster than the base, though it removes MACs, in "
        + ", ".join(f"{c.label} ({where.ratios[c.architecture]:.3g})" for c in _distinct(found)[:NAMED])
        + _and_more(len(_distinct(found)))
        for family, found in by_family.items()
    ]


def _named(candidates: Sequence[Candidate]) -> str:
    distinct = _distinct(candidates)
    return ", ".join(c.label for c in distinct[:NAMED]) + _and_more(len(distinct))


def _and_more(count: int) -> str:
    return f" and {count - NAMED} more" if count > NAMED else ""


def _distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    return list({candidate.plan_hash: candidate for candidate in candidates}.values())


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
