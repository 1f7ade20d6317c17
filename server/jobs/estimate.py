"""What a job will cost, told before it starts: trainings from the request, minutes from history or a rule of thumb."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from layerprune.api.jobs import Budget, Estimate, JobRequest

SESSIONS_PER_GROUP = 6
"""Variants that are timed together; the base and its A/A control come on top."""
LIKELY_ROUNDS = 2
"""Rounds of solving and timing that it usually takes until every target is met."""
SOLUTIONS = 0.25
"""How long the solutions of a round take to time, as a fraction of the first sweep."""
_BUDGET_FACTOR: dict[Budget, float] = {"quick": 1, "standard": 5, "thorough": 8}


@dataclass(frozen=True)
class Pace:
    """Seconds that each step takes.

    `build_s` is per epoch, `trial_s` per plan, `measure_s` per group at the quick budget; `search_s` is one round of a
    search, its sweep aside.
    """

    score_s: float
    sweep_s: float
    search_s: float
    trial_s: float
    build_s: float
    measure_s: float
    basis: str


RULE_OF_THUMB = Pace(
    score_s=60,
    sweep_s=45,
    search_s=10,
    trial_s=0.5,
    build_s=2.5,
    measure_s=15,
    basis="a rule of thumb for a small network on two cores; no job with this model and data set has finished here yet",
)


def cells(request: JobRequest, filter_criteria: Iterable[str]) -> int:
    """Count the pairs of family and criterion that give plans; imprinting, say, scores layers only.

    Hybrids go by every criterion that scores filters, and by the rise of the loss.
    """
    pruning = request.pruning
    count = len(pruning.criteria) if "layer" in pruning.methods else 0
    if "filter" in pruning.methods:
        with_form = len(set(pruning.criteria) & set(filter_criteria))
        count += with_form * (
            any(a == 1 for a in pruning.filters.alignments) + any(a > 1 for a in pruning.filters.alignments)
        )
    if "hybrid" in pruning.methods:
        count += len(set(pruning.criteria) & set(filter_criteria)) + 1
    return count


def wanted_plans(request: JobRequest, filter_criteria: Iterable[str], places: int) -> int:
    """Plans that are trained if every cell hits every target with one plan of its own.

    `places` counts the conditions of all devices together.
    """
    pruning = request.pruning
    if pruning.amounts:
        forms = len(pruning.filters.alignments) * len(pruning.filters.scopes)
        with_form = len(set(pruning.criteria) & set(filter_criteria))
        per_amount = (
            len(pruning.criteria) * ("layer" in pruning.methods)
            + with_form * forms * ("filter" in pruning.methods)
            + (with_form + 1) * ("hybrid" in pruning.methods)
        )
        return per_amount * len(pruning.amounts)
    return cells(request, filter_criteria) * len(pruning.target_list()) * places


def estimate(
    request: JobRequest, *, filter_criteria: Iterable[str], places: int, max_trainings: int, pace: Pace
) -> Estimate:
    """Estimate trainings (an upper bound) and minutes (of the likely number, one after the other)."""
    seeds = len(request.training.seeds)
    plans = wanted_plans(request, filter_criteria, places)
    # A cell that misses its target's window is bracketed by two plans.
    most = plans if request.pruning.amounts else 2 * plans
    limit = max_plans(request, max_trainings)
    rivals = len(request.rivals)
    likely = (min(plans, limit) + rivals) * seeds
    groups = -(-likely // SESSIONS_PER_GROUP)
    seconds = (
        pace.score_s
        + (0 if request.pruning.amounts else _sweeps_s(request, places, pace))
        + (plans * pace.trial_s if plans > limit else 0)
        + likely * pace.build_s * request.training.epochs
        + groups * places * pace.measure_s * _BUDGET_FACTOR[request.measure.budget]
    )
    return Estimate(
        trainings=(min(most, limit) + rivals) * seeds,
        minutes=round(seconds / 60, 1),
        basis=f"{likely} trainings are likely; seconds per step from {pace.basis}",
    )


def max_plans(request: JobRequest, max_trainings: int) -> int:
    """How many distinct plans the job may train, besides its rivals: each costs one training per seed."""
    trainings = min(request.pruning.max_trainings or max_trainings, max_trainings)
    return max(1, trainings // len(request.training.seeds) - len(request.rivals))


def _sweeps_s(request: JobRequest, places: int, pace: Pace) -> float:
    """All sweeps and the searches between them, one place after the other."""
    most_s = request.pruning.max_sweep_minutes * 60
    searches_s = LIKELY_ROUNDS * pace.search_s if pace.search_s else 0.0
    rounds_s = LIKELY_ROUNDS * SOLUTIONS * pace.sweep_s if pace.search_s else 0.0
    return places * min(most_s, pace.sweep_s + rounds_s) + searches_s
