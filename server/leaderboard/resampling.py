"""Resampled latencies and accuracies of all plans of a place at once, so that what follows has intervals.

Images are drawn with replacement, the same for all plans, since they are compared image by image. Training seeds add
normal noise with the spread over seeds that all plans share, s^2 = sum (a_ps - a_p)^2 / sum (k_p - 1), of which each
draw takes a plausible value (s^2 df / chi^2): for one plan that is Student's interval. Log latency ratios get normal
noise of the width of their measured intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from layerprune.stats import Z95

from .contenders import Entrant
from .envelope import Front

RESAMPLES = 1000
_CHUNK = 100
"""Resamples of images per step: it bounds the memory, 4 bytes per image and resample."""
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Draws:
    """Ratios and test accuracies, shape (1 + resamples, plans); row 0 is what was measured."""

    number: dict[str, int]
    ratios: Values
    accuracies: Values

    def of(self, entrants: Sequence[Entrant]) -> tuple[Values, Values]:
        """Return the columns of some plans in the order given."""
        columns = [self.number[entrant.plan_hash] for entrant in entrants]
        return self.ratios[:, columns], self.accuracies[:, columns]


@dataclass(frozen=True, eq=False)
class Curves:
    """A front in every resample: latency ratios, rising, and test accuracies, shape (1 + resamples, vertices)."""

    ratios: Values
    accuracies: Values

    def ratio_at(self, level: Values) -> Values:
        """Return the lowest ratio at which the front reaches an accuracy, shape (1 + resamples).

        It is NaN where the level is not on the front: never reached, or exceeded by the fastest plan already.
        """
        reached = self.accuracies >= level[:, None]
        first = np.argmax(reached, axis=1)
        rows = np.flatnonzero(reached.any(axis=1) & (first > 0))
        found = np.full(len(self.ratios), np.nan)
        after, before = first[rows], first[rows] - 1
        low, high = self.accuracies[rows, before], self.accuracies[rows, after]
        share = (level[rows] - low) / (high - low)
        found[rows] = (1 - share) * self.ratios[rows, before] + share * self.ratios[rows, after]
        return found


def draw(entrants: Sequence[Entrant], *, seed: int) -> Draws:
    """Resample the plans' latencies and accuracies; the same entrants and seed give the same draws."""
    rng = np.random.default_rng(seed)
    outcomes = np.stack([np.mean([run.outcomes for run in e.runs], axis=0, dtype=np.float32) for e in entrants], axis=1)
    images = len(outcomes)
    accuracies = [outcomes.mean(axis=0, dtype=np.float64)[None]]
    for start in range(0, RESAMPLES, _CHUNK):
        chosen = rng.integers(images, size=(min(_CHUNK, RESAMPLES - start), images))
        times = np.stack([np.bincount(row, minlength=images) for row in chosen]).astype(np.float32)
        accuracies.append((times @ outcomes).astype(np.float64) / images)
    ratios = [entrant.typical.ratio for entrant in entrants]
    noise = rng.standard_normal((RESAMPLES, len(entrants))) * [ratio.half_width / Z95 for ratio in ratios]
    return Draws(
        number={entrant.plan_hash: number for number, entrant in enumerate(entrants)},
        ratios=np.array([ratio.value for ratio in ratios]) * np.exp(np.vstack([np.zeros(len(entrants)), noise])),
        accuracies=np.vstack(accuracies) + _seed_noise(entrants, rng),
    )


def curves(front: Front, draws: Draws) -> Curves:
    """Put a front through the draws: its vertices stay, as validation accuracy chose them."""
    ratios, accuracies = draws.of(front.vertices)
    # Where noise swaps two vertices, they stand at one latency.
    return Curves(np.maximum.accumulate(ratios, axis=1), accuracies)


def hypervolume(steps: Sequence[Entrant], draws: Draws, *, reference: float) -> Estimate:
    """Return the area under the staircase of plans from the base's latency down and an accuracy up."""
    ratios, accuracies = draws.of(steps)
    edges = np.minimum(np.maximum.accumulate(ratios, axis=1), 1)
    widths = np.diff(edges, axis=1, append=1.0)
    return estimate((widths * np.maximum(accuracies - reference, 0)).sum(axis=1))


def estimate(values: Values) -> Estimate:
    """Read what was measured and the percentile interval off a column of draws."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Estimate(float(values[0]), min(float(low), float(values[0])), max(float(high), float(values[0])))


def _seed_noise(entrants: Sequence[Entrant], rng: np.random.Generator) -> Values:
    by_seed = [np.array([run.outcomes.mean() for run in entrant.runs]) for entrant in entrants]
    freedom = sum(len(found) - 1 for found in by_seed)
    noise = np.zeros((1 + RESAMPLES, len(entrants)))
    squares = sum(float(np.square(found - found.mean()).sum()) for found in by_seed)
    if squares > 0:
        spread = np.sqrt(squares / rng.chisquare(freedom, size=(RESAMPLES, 1)))
        shrunk = [1 / math.sqrt(len(found)) if len(found) > 1 else 0.0 for found in by_seed]
        noise[1:] = spread * rng.standard_normal((RESAMPLES, len(entrants))) * shrunk
    return noise
