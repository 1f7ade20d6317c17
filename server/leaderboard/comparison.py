"""The comparison of a job's families, computed from stored measurements whenever it is asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from layerprune.api.jobs import JobRequest
from layerprune.api.leaderboard import Comparison, Contender, DeviceComparison, FamilyReach, TargetComparison
from layerprune.api.leaderboard import Duel as DuelView
from layerprune.api.pruning import Family
from layerprune.api.wire import Proportion, Ratio
from layerprune.stats import RatioEstimate
from server.artifacts.store import LocalStore
from server.jobs import planning
from server.measurements.conditions import runtime
from server.measurements.samples import ratio_of
from server.models import Attempt, Candidate, Job, Measurement, SweepPoint, Task, Variant

from . import contenders, duels, sentences
from .contenders import Chosen, Entrant, Goal, Run, Swept
from .control import against_control
from .service import accuracy

SEED = 0
"""Seeds the bootstrap of direct ratios, so that the same samples always give the same numbers."""
NOTHING_SWEPT = "only the amounts that the job names were tried"
RIVALS: tuple[Family, ...] = ("filter", "filter_aligned")


def compare(session: Session, store: LocalStore, job: Job) -> Comparison:
    """Compare layer with filter pruning on every device and under every condition the job has measured."""
    request = JobRequest.model_validate(job.request)
    rows = session.scalars(
        select(Measurement)
        .where(Measurement.job_id == job.id)
        .options(joinedload(Measurement.variant), joinedload(Measurement.conditions), joinedload(Measurement.device))
        .order_by(Measurement.id)
    ).all()
    by_attempt: dict[int, list[Measurement]] = defaultdict(list)
    for row in rows:
        by_attempt[row.attempt_id].append(row)
    return Comparison(
        job=job.public_id,
        model=job.model,
        dataset=job.dataset,
        complete=job.state == "done",
        devices=[_compare_place(session, store, job, request, measured) for measured in by_attempt.values()],
        notes=job.notes,
    )


def _compare_place(
    session: Session, store: LocalStore, job: Job, request: JobRequest, rows: Sequence[Measurement]
) -> DeviceComparison:
    """Compare on one device under one condition; `rows` are one attempt's."""
    bases = [row for row in rows if row.role == "base"]
    base_p50_ns = round(median(row.p50_ns for row in bases))
    entrants = _entrants([row for row in rows if row.role == "variant"], request.pruning.criteria)
    families = _families(request)
    first = bases[0]
    direct = _direct_ratio(store)
    goals = _goals(request, first, base_p50_ns)
    swept = _swept(session, job, first)
    targets, verdicts = [], []
    for goal in goals:
        chosen = goal.choose(contenders.by_family(entrants, families), swept)
        found = [_duel(chosen, rival, direct) for rival in RIVALS if {"layer", rival} <= chosen.contenders.keys()]
        best = _best_filter(chosen)
        views = [view.model_copy(update={"against_best_filter": view.second.family == best}) for view in found]
        verdicts += [view.verdict for view in views if view.against_best_filter]
        targets.append(
            TargetComparison(
                target=goal.label,
                target_ratio=goal.ratio,
                contenders=[_contender(entrant, tries) for entrant, tries in chosen.contenders.values()],
                duels=views,
                missing=dict(chosen.missing),
            )
        )
    return DeviceComparison(
        device=first.device.name,
        runtime=runtime(first.conditions.key),
        precision=first.precision,
        batch_size=first.batch_size,
        threads=first.threads,
        comparable_key=first.conditions.comparable_key,
        base_p50_ns=base_p50_ns,
        base_accuracy=accuracy(first.correct, first.n_images),
        targets=targets,
        reach=_reach(job, request, swept, entrants, families),
        summary=sentences.of_device(
            first.device.name,
            verdicts,
            seeds=len(request.training.seeds),
            doubtful=sum(row.verdict != "stable" for row in rows if row.role == "variant"),
        ),
        control=against_control(entrants, families, request.pruning.criteria, goals, direct),
    )


def _goals(request: JobRequest, row: Measurement, base_p50_ns: int) -> list[Goal]:
    """What the job aims at here: its targets, or its amounts."""
    if request.pruning.amounts:
        return [Goal(f"{amount:.0%} of the MACs removed", amount=amount) for amount in request.pruning.amounts]
    goals = []
    for target in request.pruning.target_list():
        placed = planning.place(
            target,
            device=row.device.name,
            batch_size=row.batch_size,
            precision=row.precision,
            base_p50_ns=base_p50_ns,
        )
        if placed is not None:
            label = f"{target.latency_ms:g} ms" if target.ratio is None else f"{target.ratio:g} of the base's latency"
            goals.append(Goal(label, ratio=placed.ratio, why_not=placed.note or ""))
    return goals


def _families(request: JobRequest) -> list[Family]:
    families: list[Family] = ["layer"] if "layer" in request.pruning.methods else []
    if "filter" in request.pruning.methods:
        alignments = request.pruning.filters.alignments
        families += ["filter"] if 1 in alignments else []
        families += ["filter_aligned"] if max(alignments) > 1 else []
    return families


def _entrants(rows: Sequence[Measurement], criteria: Sequence[str]) -> list[Entrant]:
    """The measured plans; a variant that does not compute what it was trained to is left out."""
    by_plan: dict[str, list[Measurement]] = defaultdict(list)
    for row in rows:
        if row.verdict != "invalid":
            by_plan[row.variant.plan_hash].append(row)
    return [
        Entrant(
            plan_hash=plan_hash,
            label=own[0].variant.label,
            family=own[0].variant.family,  # type: ignore[arg-type]
            criteria=tuple(own[0].variant.criteria),
            order=min((criteria.index(name) for name in own[0].variant.criteria), default=len(criteria)),
            amount=own[0].variant.amount,
            runs=tuple(_run(row) for row in sorted(own, key=lambda row: row.variant.training_seed)),
        )
        for plan_hash, own in by_plan.items()
    ]


def _run(row: Measurement) -> Run:
    assert row.ratio is not None
    assert row.ratio_low is not None
    assert row.ratio_high is not None
    bits = np.unpackbits(np.frombuffer(row.outcomes, dtype=np.uint8))[: row.n_images].astype(bool)
    return Run(
        variant=row.variant.public_id,
        seed=row.variant.training_seed,
        validation_correct=row.variant.validation_correct,
        validation_n=row.variant.validation_n,
        outcomes=bits,
        p50_ns=row.p50_ns,
        ratio=RatioEstimate(row.ratio, row.ratio_low, row.ratio_high, row.low_ratio or row.ratio, row.processes),
        flags=tuple(row.flags),
        is_stable=row.verdict == "stable",
        group=(row.attempt_id, row.group_no),
        samples=row.samples_sha256,
    )


def _best_filter(chosen: Chosen[Family]) -> Family | None:
    """The filter family whose contender has the higher validation accuracy; the unaligned one if they are equal."""
    present = [family for family in RIVALS if family in chosen.contenders]
    return max(present, key=lambda family: chosen.contenders[family][0].validation, default=None)


def _duel(chosen: Chosen[Family], rival: Family, direct: duels.DirectRatio) -> DuelView:
    (first, tries), (second, rival_tries) = chosen.contenders["layer"], chosen.contenders[rival]
    duel = duels.fight(first, second, direct)
    return DuelView(
        first=_contender(first, tries),
        second=_contender(second, rival_tries),
        accuracy_difference=duel.difference.value,
        ci_low=duel.difference.low,
        ci_high=duel.difference.high,
        latency_ratio=_ratio(duel.latency),
        equally_fast=duel.equally_fast,
        verdict=duel.verdict,
        sentence=sentences.of_duel(first, second, duel),
    )


def _contender(entrant: Entrant, tries: int) -> Contender:
    """Latency from the typical run; accuracies are of all seeds together."""
    typical, several = entrant.typical, len(entrant.runs) > 1
    return Contender(
        variant=typical.variant,
        label=entrant.label + (f" ({len(entrant.runs)} seeds)" if several else ""),
        family=entrant.family,
        criteria=list(entrant.criteria),
        ratio=_ratio(typical.ratio),
        p50_ns=typical.p50_ns,
        accuracy=accuracy(
            sum(int(run.outcomes.sum()) for run in entrant.runs), sum(len(run.outcomes) for run in entrant.runs)
        ),
        validation=Proportion(
            correct=sum(run.validation_correct for run in entrant.runs), n=sum(run.validation_n for run in entrant.runs)
        ),
        tries=tries,
    )


def _ratio(estimate: RatioEstimate) -> Ratio:
    return Ratio(value=estimate.value, ci_low=estimate.ci_low, ci_high=estimate.ci_high)


def _direct_ratio(store: LocalStore) -> Callable[[Run, Run], RatioEstimate | None]:
    """Compare runs by their samples where they were timed in one group, which is sharper than by way of the base."""

    def direct(a: Run, b: Run) -> RatioEstimate | None:
        paths = store.path(a.samples), store.path(b.samples)
        if a.group != b.group or not all(path.is_file() for path in paths):
            return None
        return ratio_of(*paths, seed=SEED)

    return direct


def _swept(session: Session, job: Job, row: Measurement) -> dict[Family, list[Swept]]:
    """Every plan that the sweep timed on this device under this condition, by family."""
    key = session.scalar(select(Task.key).join(Attempt, Attempt.task_id == Task.id).where(Attempt.id == row.attempt_id))
    trained = set(session.scalars(select(Variant.plan_hash).where(Variant.job_id == job.id)))
    timed = session.execute(
        select(Candidate.family, Candidate.plan_hash, SweepPoint.low_ratio)
        .join(SweepPoint, SweepPoint.architecture == Candidate.architecture)
        .join(Task, SweepPoint.task_id == Task.id)
        .where(Candidate.job_id == job.id, Task.job_id == job.id, Task.kind == "sweep", Task.key == key)
    )
    swept: dict[Family, list[Swept]] = defaultdict(list)
    for family, plan_hash, ratio in timed:
        swept[family].append(Swept(ratio, plan_hash in trained))  # type: ignore[index]
    return swept


def _reach(
    job: Job,
    request: JobRequest,
    swept: Mapping[Family, Sequence[Swept]],
    entrants: Sequence[Entrant],
    families: Sequence[Family],
) -> list[FamilyReach]:
    """The lowest latency of each family on this device, swept or measured, and what stops it.

    A job that names amounts sweeps nothing, so how far its families could go is not known.
    """
    stopped_by = {reach.family: reach.stopped_by for reach in planning.reaches(job)}
    return [
        FamilyReach(
            family=family,
            lowest_ratio=min(
                [
                    *(plan.ratio for plan in swept.get(family, ())),
                    *(entrant.typical.ratio.value for entrant in entrants if entrant.family == family),
                ],
                default=None,
            ),
            stopped_by=NOTHING_SWEPT if request.pruning.amounts else stopped_by.get(family, "not known"),
        )
        for family in families
    ]
