"""Who stands for a family at a target: chosen by validation accuracy, with the same number of tries for each family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from layerprune.api.jobs import Family
from layerprune.stats import RatioEstimate
from server.jobs.select import WINDOW


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
class Chosen:
    """Each family's contender and the number of plans it was the best of, and why the others have none."""

    contenders: Mapping[Family, tuple[Entrant, int]]
    missing: Mapping[Family, str]


def choose(entrants: Sequence[Entrant], families: Sequence[Family], target: float) -> Chosen:
    """Choose for a target (a ratio to the base's latency) among the plans measured in [0.94 T, 1.03 T].

    A family that has none there is represented by its nearest faster plan, as one try. Stable measurements are
    preferred to doubtful ones.
    """
    low, high = WINDOW[0] * target, WINDOW[1] * target
    inside: dict[Family, list[Entrant]] = {}
    missing: dict[Family, str] = {}
    for family in families:
        own = [entrant for entrant in entrants if entrant.family == family]
        hits = [entrant for entrant in own if low <= entrant.typical.ratio.value <= high]
        faster = [entrant for entrant in own if entrant.typical.ratio.value < low]
        if hits:
            inside[family] = [entrant for entrant in hits if entrant.is_stable] or hits
        elif faster:
            inside[family] = [max(faster, key=lambda entrant: entrant.typical.ratio.value)]
        elif own:
            nearest = min(entrant.typical.ratio.value for entrant in own)
            missing[family] = f"the fastest variant takes {nearest:.3g} of the base's latency"
        else:
            missing[family] = "no variant was measured"
    return Chosen(_best(inside), missing)


def choose_by_amount(entrants: Sequence[Entrant], families: Sequence[Family], amount: float) -> Chosen:
    """Choose for an amount of MACs among the plans that remove about as much, when a job names amounts, not latencies.

    About as much means as near as the family's nearest, to within 3 points.
    """
    inside: dict[Family, list[Entrant]] = {}
    missing: dict[Family, str] = {}
    for family in families:
        own = [entrant for entrant in entrants if entrant.family == family]
        if not own:
            missing[family] = "no variant was measured"
            continue
        nearest = min(abs(entrant.amount - amount) for entrant in own)
        hits = [entrant for entrant in own if abs(entrant.amount - amount) <= nearest + 0.03]
        inside[family] = [entrant for entrant in hits if entrant.is_stable] or hits
    return Chosen(_best(inside), missing)


def _best(inside: Mapping[Family, Sequence[Entrant]]) -> dict[Family, tuple[Entrant, int]]:
    """The best of each family by validation accuracy, out of as many as the smallest family has."""
    tries = min((len(own) for own in inside.values()), default=0)
    best: dict[Family, tuple[Entrant, int]] = {}
    for family, own in inside.items():
        considered = sorted(own, key=lambda e: (e.order, -e.typical.ratio.value, e.plan_hash))[:tries]
        best[family] = max(considered, key=lambda e: (e.validation, -e.order)), tries
    return best
