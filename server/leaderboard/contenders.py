"""Who stands for whom at a target: chosen by validation accuracy, with the same number of tries for each group.

A group is what is compared: the plans of a family, or those of a criterion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from layerprune.api.pruning import Family
from layerprune.stats import RatioEstimate
from server.jobs.select import WINDOW

TOGETHER = 0.02
"""Contenders are chosen from a range of latencies no wider than this fraction, where that is possible. Two variants
count as equally fast when the interval of their ratio lies within 3 %; this leaves the interval 1 % to either side."""
K = TypeVar("K", bound=str)


@dataclass(frozen=True, eq=False)
class Run:
    """One trained and measured network: a plan with one training seed; `outcomes` is one truth value per image."""

    variant: str
    seed: int
    validation_correct: int
    validation_n: int
    outcomes: NDArray[np.bool_]
    p50_ns: int
    ratio: RatioEstimate
    flags: tuple[str, ...]
    is_stable: bool
    group: tuple[int, int]
    samples: str


@dataclass(frozen=True, eq=False)
class Entrant:
    """A plan with its runs, one per seed; `order` is where its first criterion stands in the request."""

    plan_hash: str
    label: str
    family: Family
    criteria: tuple[str, ...]
    order: int
    amount: float
    runs: tuple[Run, ...]

    @property
    def typical(self) -> Run:
        """The run with the median latency ratio (of two the faster); its latency stands for the plan's."""
        return sorted(self.runs, key=lambda run: (run.ratio.value, run.variant))[(len(self.runs) - 1) // 2]

    @property
    def validation(self) -> float:
        """Validation accuracy over all seeds."""
        return sum(run.validation_correct for run in self.runs) / sum(run.validation_n for run in self.runs)

    @property
    def is_stable(self) -> bool:
        return all(run.is_stable for run in self.runs)


@dataclass(frozen=True)
class Swept:
    """A plan as the sweep timed it, as a ratio to the base's latency, and whether it was trained afterwards."""

    ratio: float
    is_trained: bool


@dataclass(frozen=True)
class Chosen(Generic[K]):
    """Each group's contender and the number of plans it was the best of, and why the others have none."""

    contenders: Mapping[K, tuple[Entrant, int]]
    missing: Mapping[K, str]


@dataclass(frozen=True)
class Goal:
    """What a job aims at on one device, in words, and either as a ratio to the base's latency or as an amount of MACs.

    Where it makes no sense there is neither, but `why_not`.
    """

    label: str
    ratio: float | None = None
    amount: float | None = None
    why_not: str = ""

    def choose(
        self, groups: Mapping[K, Sequence[Entrant]], swept: Mapping[K, Sequence[Swept]] = MappingProxyType({})
    ) -> Chosen[K]:
        """Choose each group's contender for this goal; `swept` serves to say why a group has none."""
        if self.ratio is not None:
            return choose(groups, self.ratio, swept)
        if self.amount is not None:
            return choose_by_amount(groups, self.amount)
        return Chosen({}, dict.fromkeys(groups, self.why_not))


def by_family(entrants: Sequence[Entrant], families: Sequence[Family]) -> dict[Family, list[Entrant]]:
    return {family: [entrant for entrant in entrants if entrant.family == family] for family in families}


def choose(
    groups: Mapping[K, Sequence[Entrant]],
    target: float,
    swept: Mapping[K, Sequence[Swept]] = MappingProxyType({}),
) -> Chosen[K]:
    """Choose for a target (a ratio to the base's latency) among the plans measured in [0.94 T, 1.03 T].

    A group that has none there is represented by its nearest faster plan, as one try. Stable measurements are preferred
    to doubtful ones. Groups that have plans of about the same latency are narrowed to these (see `_meet`): two plans of
    the window may be 9 % apart, and accuracy is compared at equal latency, not at equal budget.
    """
    low, high = WINDOW[0] * target, WINDOW[1] * target
    inside: dict[K, list[Entrant]] = {}
    missing: dict[K, str] = {}
    for name, own in groups.items():
        hits = [entrant for entrant in own if low <= entrant.typical.ratio.value <= high]
        faster = [entrant for entrant in own if entrant.typical.ratio.value < low]
        if hits:
            inside[name] = [entrant for entrant in hits if entrant.is_stable] or hits
        elif faster:
            inside[name] = [max(faster, key=lambda entrant: entrant.typical.ratio.value)]
        else:
            missing[name] = _why_untrained(swept.get(name, ()), high) or _why_missing(own)
    fast_enough = {name: [e for e in groups[name] if e.typical.ratio.value <= high and e.is_stable] for name in inside}
    return Chosen(_best(inside | _meet(inside, fast_enough)), missing)


def choose_by_amount(groups: Mapping[K, Sequence[Entrant]], amount: float) -> Chosen[K]:
    """Choose for an amount of MACs among the plans that remove about as much, when a job names amounts, not latencies.

    About as much means as near as the group's nearest, to within 3 points.
    """
    inside: dict[K, list[Entrant]] = {}
    missing: dict[K, str] = {}
    for name, own in groups.items():
        if not own:
            missing[name] = _why_missing(own)
            continue
        nearest = min(abs(entrant.amount - amount) for entrant in own)
        hits = [entrant for entrant in own if abs(entrant.amount - amount) <= nearest + 0.03]
        inside[name] = [entrant for entrant in hits if entrant.is_stable] or hits
    return Chosen(_best(inside), missing)


def _why_untrained(swept: Sequence[Swept], high: float) -> str | None:
    """Say so if the sweep found plans that are fast enough, and none of them was trained."""
    reaching = [plan for plan in swept if plan.ratio <= high]
    if not reaching or any(plan.is_trained for plan in reaching):
        return None
    lowest = min(plan.ratio for plan in reaching)
    return f"reachable ({lowest:.2f} swept), but no such plan was trained: see the job's notes"


def _why_missing(own: Sequence[Entrant]) -> str:
    if not own:
        return "no variant was measured"
    return f"the fastest variant takes {min(entrant.typical.ratio.value for entrant in own):.3g} of the base's latency"


def _meet(inside: Mapping[K, Sequence[Entrant]], fast_enough: Mapping[K, Sequence[Entrant]]) -> dict[K, list[Entrant]]:
    """Narrow the groups to one range of latencies, `TOGETHER` wide; those that have no plan in it are left as they are.

    The range holds one of the first group's own plans for the target. It is the one where most groups meet, then the
    one that leaves most tries, then the one with most plans, then the slowest. Latency alone decides, so accuracy
    cannot be chosen by choosing it.
    """
    first = next(iter(inside), None)
    met: list[tuple[tuple[float, ...], dict[K, list[Entrant]]]] = []
    for start in {entrant.typical.ratio.value for own in fast_enough.values() for entrant in own}:
        here = {
            name: within
            for name, own in fast_enough.items()
            if (within := [e for e in own if start <= e.typical.ratio.value <= start * (1 + TOGETHER)])
        }
        if len(here) > 1 and first in here and set(here[first]) & set(inside[first]):
            sizes = [len(own) for own in here.values()]
            met.append(((len(here), min(sizes), sum(sizes), start), here))
    return max(met, key=lambda one: one[0])[1] if met else {}


def _best(inside: Mapping[K, Sequence[Entrant]]) -> dict[K, tuple[Entrant, int]]:
    """The best of each group by validation accuracy, out of as many as the smallest group has."""
    tries = min((len(own) for own in inside.values()), default=0)
    best: dict[K, tuple[Entrant, int]] = {}
    for name, own in inside.items():
        considered = sorted(own, key=lambda e: (e.order, -e.typical.ratio.value, e.plan_hash))[:tries]
        best[name] = max(considered, key=lambda e: (e.validation, -e.order)), tries
    return best
