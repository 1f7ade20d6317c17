"""Which rows of a slice are on the accuracy-latency front, and which cannot be told from it.

A slice is what may be compared: one comparable key, one model, one data set. Only stable rows take part. A row is on
the front if no other is at least as fast and as accurate and better in one. It is *tied* with the front if every row
that beats it might do so by chance: none is faster beyond the latency intervals while as accurate, and none is more
accurate beyond the accuracy intervals while as fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from layerprune.stats import pareto_front, wilson


@dataclass(frozen=True)
class Point:
    """A stable row: latency in ns with its interval, and correct answers out of n."""

    row_id: int
    p50_ns: float
    low_ns: float
    high_ns: float
    correct: int
    n: int


@dataclass(frozen=True)
class Front:
    """Ids of the rows on the front, and of those tied with it."""

    on: frozenset[int]
    tied: frozenset[int]


def front(points: Sequence[Point]) -> Front:
    """Find the front of one slice."""
    accuracies = [wilson(point.correct, point.n) for point in points]
    on = pareto_front([point.p50_ns for point in points], [value for value, _, _ in accuracies])
    beaten = _surely_beaten(points, accuracies)
    return Front(
        on=frozenset(point.row_id for point, is_on in zip(points, on, strict=True) if is_on),
        tied=frozenset(
            point.row_id for point, is_on, lost in zip(points, on, beaten, strict=True) if not is_on and not lost
        ),
    )


def _surely_beaten(points: Sequence[Point], accuracies: Sequence[tuple[float, float, float]]) -> list[bool]:
    p50, low, high = np.array([(point.p50_ns, point.low_ns, point.high_ns) for point in points]).reshape(-1, 3).T
    value, least, most = np.array(accuracies).reshape(-1, 3).T
    beaten = []
    for i in range(len(points)):
        faster = (high < low[i]) & (value >= value[i])
        better = (least > most[i]) & (p50 <= p50[i])
        beaten.append(bool((faster | better).any()))
    return beaten
