"""Which rows of a slice are on the accuracy-latency front, which cannot be told from it, which differ from the base.

A slice is what may be compared: one comparable key, one model, one data set. Only stable rows take part. A row is on
the front if no other is at least as fast and as accurate and better in one. It is *tied* with the front if every row
that beats it might do so by chance: none is faster beyond the latency intervals while as accurate, and none is more
accurate beyond the accuracy intervals while as fast.

Many rows make many comparisons, so the risk of even one false difference in a slice is held at 5 %. Rows against each
other: every interval of m rows is widened to 1 - 0.05 / m, so that with 95 % all hold at once, and whatever is read off
them with them. Rows against the base: Holm's procedure. And below the device's noise floor no latencies differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from layerprune.stats import (
    RISK,
    RatioEstimate,
    deciding_ratio,
    holm,
    is_different,
    p_value,
    pareto_front,
    student_quantile,
    t95,
    wilson,
)

Versus = Literal["faster", "slower", "tied"]


@dataclass(frozen=True)
class Point:
    """A stable row: latency in ns, its ratio to the base (None for the base), and correct answers out of n.

    `least_effect` is the |log ratio| up to which latencies are tied here.
    """

    row_id: int
    p50_ns: float
    ratio: RatioEstimate | None
    correct: int
    n: int
    least_effect: float = 0.0


@dataclass(frozen=True)
class Front:
    """Ids of the rows on the front, and of those tied with it; and how rows stand to the base in latency."""

    on: frozenset[int]
    tied: frozenset[int]
    versus_base: Mapping[int, Versus] = field(default_factory=dict)


def front(points: Sequence[Point]) -> Front:
    """Find the front of one slice."""
    values = [point.correct / point.n for point in points]
    on = pareto_front([point.p50_ns for point in points], values)
    beaten = _surely_beaten(points)
    return Front(
        on=frozenset(point.row_id for point, is_on in zip(points, on, strict=True) if is_on),
        tied=frozenset(
            point.row_id for point, is_on, lost in zip(points, on, beaten, strict=True) if not is_on and not lost
        ),
        versus_base=versus_base(points),
    )


def versus_base(points: Sequence[Point]) -> dict[int, Versus]:
    """Say of each row whether it is shown to be faster or slower than the base, among all rows of the slice."""
    compared = [(point, point.ratio) for point in points if point.ratio is not None]
    adjusted = holm([p_value(ratio) for _, ratio in compared])
    found: dict[int, Versus] = {}
    for (point, ratio), p in zip(compared, adjusted, strict=True):
        is_shown = p <= RISK and is_different(ratio, noise_floor=point.least_effect, level=1.0)
        faster: Versus = "faster" if deciding_ratio(ratio) < 1 else "slower"
        found[point.row_id] = faster if is_shown else "tied"
    return found


def _surely_beaten(points: Sequence[Point]) -> list[bool]:
    risk = RISK / max(1, len(points))
    p50 = np.array([point.p50_ns for point in points])
    halves = [_log_half_width(point, risk) for point in points]
    low, high = p50 * np.exp(-np.array(halves)), p50 * np.exp(halves)
    floors = np.exp([point.least_effect for point in points])
    accuracies = np.array([wilson(point.correct, point.n, risk=risk) for point in points]).reshape(-1, 3)
    value, least, most = accuracies.T
    beaten = []
    for i in range(len(points)):
        faster = (high < low[i]) & (p50 * floors < p50[i]) & (value >= value[i])
        better = (least > most[i]) & (p50 <= p50[i])
        beaten.append(bool((faster | better).any()))
    return beaten


def _log_half_width(point: Point, risk: float) -> float:
    """Half the width of the interval of the row's log latency that misses with probability `risk`."""
    if point.ratio is None or math.isclose(point.ratio.half_width, 0.0):
        return 0.0
    return point.ratio.half_width * student_quantile(point.ratio.df, risk) / t95(point.ratio.df)
