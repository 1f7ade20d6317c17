"""Whole fronts of two families: latency at equal accuracy, and where the more accurate one changes.

Who is more accurate at a latency is judged exactly as at a target; latencies at equal accuracy come from resampling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from layerprune.api.pruning import Family

from .contenders import Entrant
from .duels import at_ratio
from .envelope import Front
from .resampling import Curves, Draws, Estimate, Values, curves, estimate

LOSSES = (0.0, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Accuracies at which latencies are compared, as losses from the base's."""
NEARLY_ALL = 0.95
"""A level counts as reached if it is on the front in this share of the resamples."""


@dataclass(frozen=True)
class Level:
    """Latency ratios to the base at one test accuracy, and of the first to the second."""

    accuracy: float
    first: Estimate
    second: Estimate
    ratio: Estimate


@dataclass(frozen=True)
class Crossing:
    """The fronts meet at `ratio`; `below` is shown to be better up to `low`, `above` from `high` on."""

    ratio: float
    low: float
    high: float
    below: Family
    above: Family


@dataclass(frozen=True)
class Course:
    """How two fronts stand to each other; `better` are the families shown to be better at some latency."""

    first: Family
    second: Family
    levels: tuple[Level, ...]
    crossing: Crossing | None
    better: tuple[Family, ...]


def courses(fronts: Mapping[Family, Front], draws: Draws, base: Entrant) -> list[Course]:
    """Compare every two families that have a front."""
    drawn = {family: (front, curves(front, draws)) for family, front in fronts.items() if front.vertices}
    _, base_accuracy = draws.of([base])
    found = []
    for a, b in combinations(drawn, 2):
        (first, first_curves), (second, second_curves) = drawn[a], drawn[b]
        levels = [_level(base_accuracy[:, 0] - loss, first_curves, second_curves) for loss in LOSSES]
        grid, gap, shown = _gaps(first, second)
        better: tuple[Family, ...] = tuple(family for family, sign in ((a, 1), (b, -1)) if sign in shown)
        crossing = _crossing(a, b, grid, gap, shown)
        found.append(Course(a, b, tuple(level for level in levels if level), crossing, better))
    return found


def _level(accuracy: Values, first: Curves, second: Curves) -> Level | None:
    """Latencies at one loss from the base's accuracy, which is resampled with the rest: shape (1 + resamples)."""
    a, b = first.ratio_at(accuracy), second.ratio_at(accuracy)
    both = np.isfinite(a) & np.isfinite(b)
    if not both[0] or both.mean() < NEARLY_ALL or a[0] == b[0] == 1:  # at 1 it is the base that reaches it
        return None
    a, b = a[both], b[both]
    return Level(float(accuracy[0]), estimate(a), estimate(b), estimate(a / b))


def _gaps(first: Front, second: Front) -> tuple[list[float], list[float], list[int]]:
    """Accuracy of the first minus that of the second, and the sign if it is shown, at the latencies both fronts span.

    Those are the latencies of all vertices, and the middles between them.
    """
    vertices = {e.typical.ratio.value for front in (first, second) for e in front.vertices}
    both = sorted(ratio for ratio in vertices if first.at(ratio) and second.at(ratio))
    grid = sorted([*both, *((a + b) / 2 for a, b in pairwise(both))])
    found = [equal for ratio in grid if (equal := at_ratio(ratio, (first, second))) is not None]
    signs = {"first": 1, "second": -1, "tied": 0}
    return [e.ratio for e in found], [e.difference.value for e in found], [signs[e.verdict] for e in found]


def _crossing(
    a: Family, b: Family, grid: Sequence[float], gap: Sequence[float], shown: Sequence[int]
) -> Crossing | None:
    """The first change of the better family, from the fastest on, of which both sides are shown."""
    sure = [i for i, sign in enumerate(shown) if sign]
    for left, right in pairwise(sure):
        if shown[left] != shown[right]:
            turned = next(i for i in range(left + 1, right + 1) if np.sign(gap[i]) != shown[left])
            share = gap[turned - 1] / (gap[turned - 1] - gap[turned])
            ratio = grid[turned - 1] + share * (grid[turned] - grid[turned - 1])
            below, above = (a, b) if shown[left] > 0 else (b, a)
            return Crossing(ratio, grid[left], grid[right], below, above)
    return None
