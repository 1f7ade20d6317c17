"""Which of the wanted plans are trained when the job's limit allows fewer: successive halving by validation accuracy.

First every wanted plan is judged after its batch-norm statistics were re-estimated, without any training. If what is
kept is still more than the limit, one epoch of training decides. A family's last plan for a target is cut only when
there are more families and targets than trainings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.jobs import JobRequest
from layerprune.api.tasks import TrialPayload, TrialResult
from server.context import StageContext
from server.models import Candidate, Job, Scoring, Task, TrialScore, Variant

from . import creation
from .estimate import max_plans
from .select import Pick

MIN_EPOCHS = 3
"""With fewer epochs per training, one epoch of trial would cost about as much as what it saves."""
_TEACHER = 1 / 3
"""The unpruned network's forward pass, beside forward and backward passes, as a fraction of training it."""


@dataclass(frozen=True)
class Limit:
    """At most so many plans, which may take so long to train; `cost` is in seconds by plan."""

    plans: int
    seconds: float
    cost: Mapping[str, float]

    def allows(self, picks: Sequence[Pick]) -> bool:
        """Whether all of them may be trained."""
        return len(picks) <= self.plans and sum(self.cost[pick.plan_hash] for pick in picks) <= self.seconds

    def count(self, picks: Sequence[Pick]) -> int:
        """About how many of them may be trained."""
        total = sum(self.cost[pick.plan_hash] for pick in picks)
        return self.plans if total <= self.seconds else min(self.plans, int(self.seconds / total * len(picks)))


@dataclass(frozen=True)
class Decision:
    """The plans to train, what was cut and why; or, with `epochs`, the plans to put to another trial first."""

    picks: list[Pick]
    notes: list[str]
    epochs: int | None = None


def decide(session: Session, job: Job, wanted: Sequence[Pick], *, max_trainings: int) -> Decision:
    """Say which plans are trained, or which trial has to come first."""
    request = JobRequest.model_validate(job.request)
    limit, notes = _limit(session, job, request, wanted, max_trainings)
    if limit.allows(wanted):
        return Decision(list(wanted), notes)
    failed = select(Task.id).where(Task.job_id == job.id, Task.kind == "trial", Task.state == "failed").limit(1)
    if session.scalar(failed) is not None:
        kept = keep_best(wanted, {}, limit)
        return Decision(
            kept, [*notes, _cut(session, job, wanted, kept, "in the order of the criteria: the trial failed")]
        )
    scores = _scores(session, job)
    if 0 not in scores:
        return Decision(list(wanted), [], epochs=0)
    target = limit.count(wanted)
    # A trial of one epoch must not cost more than the trainings it chooses between.
    first = Limit(max(target, min(-(-len(wanted) // 2), 2 * target)), float("inf"), limit.cost)
    kept = keep_best(wanted, scores[0], first)
    how = "after re-estimating batch norm"
    if not limit.allows(kept) and request.training.epochs >= MIN_EPOCHS:
        if 1 not in scores:
            return Decision(kept, [], epochs=1)
        kept, how = keep_best(kept, scores[1], limit), f"{how}, then after one epoch"
    else:
        kept = keep_best(kept, scores[0], limit)
    return Decision(kept, [*notes, _cut(session, job, wanted, kept, f"by validation accuracy {how}")])


def create(ctx: StageContext, job: Job, decision: Decision) -> None:
    """Queue the trial that a decision waits for."""
    assert decision.epochs is not None
    plans = [pick.plan_hash for pick in decision.picks]
    creation.trial(ctx, job, plans, epochs=decision.epochs)


def store(session: Session, task: Task, result: TrialResult) -> None:
    """Store the accuracies of the plans that the trial was asked about; others are passed over."""
    payload = TrialPayload.model_validate(task.payload)
    for plan in payload.plans:
        if (found := result.accuracies.get(plan.plan_hash)) is not None:
            session.add(
                TrialScore(
                    job_id=task.job_id,
                    epochs=payload.epochs,
                    plan_hash=plan.plan_hash,
                    correct=min(found.correct, found.n),
                    n=found.n,
                )
            )


def keep_best(picks: Sequence[Pick], accuracies: Mapping[str, float], limit: Limit) -> list[Pick]:
    """Deal the limit out: to every family at every target its most accurate plan first, then the second, and so on.

    Plans of unknown accuracy come last, in their given order; the plans on a target come before those beside it.
    """
    groups: dict[tuple[int, int, int, str], list[Pick]] = defaultdict(list)
    for pick in sorted(picks, key=lambda p: -accuracies.get(p.plan_hash, -1.0)):
        for use in pick.uses:
            groups[use.tier, use.sweep_no, use.target_no, use.family].append(pick)
    ordered = [groups[use] for use in sorted(groups)]
    kept: dict[str, Pick] = {}
    spent = 0.0
    for rank in range(max(map(len, ordered), default=0)):
        for group in ordered:
            has = sum(pick.plan_hash in kept for pick in group)
            fitting = (
                pick
                for pick in group
                if pick.plan_hash not in kept and (not kept or spent + limit.cost[pick.plan_hash] <= limit.seconds)
            )
            if has <= rank and len(kept) < limit.plans and (best := next(fitting, None)) is not None:
                kept[best.plan_hash] = best
                spent += limit.cost[best.plan_hash]
    return [pick for pick in picks if pick.plan_hash in kept]


def training_s(epoch_s: float, request: JobRequest, *, macs: int, base_macs: int) -> float:
    """Seconds to train a plan with every seed, from what an epoch of the base took."""
    teacher = _TEACHER if request.training.distillation > 0 else 0.0
    return epoch_s * (macs / max(1, base_macs) + teacher) * request.training.epochs * len(request.training.seeds)


def _limit(
    session: Session, job: Job, request: JobRequest, wanted: Sequence[Pick], max_trainings: int
) -> tuple[Limit, list[str]]:
    plans = max_plans(request, max_trainings)
    hours, scoring = request.pruning.max_build_hours, session.get(Scoring, job.id)
    if hours is None:
        return Limit(plans, float("inf"), {pick.plan_hash: 0.0 for pick in wanted}), []
    if scoring is None or not scoring.epoch_seconds:
        note = "max_build_hours cannot be held: the base was not trained here, so an epoch's duration is not known"
        return Limit(plans, float("inf"), {pick.plan_hash: 0.0 for pick in wanted}), [note]
    base_macs = session.scalars(select(Variant.macs).where(Variant.job_id == job.id, Variant.family == "base")).one()
    rows = session.execute(select(Candidate.plan_hash, Candidate.macs).where(Candidate.job_id == job.id))
    cost = {
        plan_hash: training_s(scoring.epoch_seconds, request, macs=macs, base_macs=base_macs)
        for plan_hash, macs in rows
    }
    return Limit(plans, hours * 3600, cost), []


def _scores(session: Session, job: Job) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for row in session.scalars(select(TrialScore).where(TrialScore.job_id == job.id)):
        found[row.epochs][row.plan_hash] = row.correct / row.n
    return found


def _cut(session: Session, job: Job, wanted: Sequence[Pick], kept: Sequence[Pick], how: str) -> str:
    hashes = {pick.plan_hash for pick in wanted} - {pick.plan_hash for pick in kept}
    rows = session.execute(
        select(Candidate.plan_hash, Candidate.label)
        .where(Candidate.job_id == job.id, Candidate.plan_hash.in_(hashes))
        .order_by(Candidate.id)
    )
    labels = {plan_hash: label for plan_hash, label in rows}  # noqa: C416
    return (
        f"{len(wanted)} plans were wanted and the limit of trainings allows {len(kept)}; "
        f"{len(hashes)} were cut {how}: {', '.join(labels.values())}"
    )
