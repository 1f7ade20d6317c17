"""Accuracies and their differences, and which points of latency and accuracy nothing beats.

Sources: Wilson (1927) and Agresti and Min (2005) for proportions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from layerprune.api.errors import BadInput

from .student import Z95, t95


def wilson(correct: int, n: int, *, risk: float = 0.05) -> tuple[float, float, float]:
    """Return a proportion with Wilson's score interval, which misses with probability `risk`."""
    value, z = correct / n, NormalDist().inv_cdf(1 - risk / 2)
    z2 = z * z
    middle = (value + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(value * (1 - value) / n + z2 / (4 * n * n))
    return value, max(0.0, middle - half) if correct else 0.0, min(1.0, middle + half) if correct < n else 1.0


def mean_gap(first: ArrayLike, second: ArrayLike) -> tuple[float, float, float]:
    """Return the mean of `first` minus `second` with its interval; both in [0, 1], (images) or (seeds, images).

    Images: with d_i the gap at image i, averaged over S seeds, Agresti and Min's interval for N matched pairs,
    sum(d) / (N + 2) to either side z sqrt(sum(d^2) + 1 - sum(d)^2 / (N + 2)) / (N + 2), which holds for shares as well
    as for 0 and 1. With one seed that is all, and the interval speaks of the two trained networks.

    Seeds: with several, t^2 v / S - z^2 e / (S N), at least 0, is added in quadrature, so that the interval speaks of
    what the methods give. v is the sum of both sides' variances of the means over images, t Student's factor for
    2 (S - 1) degrees of freedom (seeds vary alike on both sides, and independently); e, the residual variance of the
    gaps after seeds and images, is in the images' part already. A test holds the coverage to at least 93 %.
    """
    a, b = np.atleast_2d(first).astype(float), np.atleast_2d(second).astype(float)
    if a.shape != b.shape or not a.size:
        raise BadInput(
            f"outcomes of shapes {np.shape(first)} and {np.shape(second)} cannot be paired",
            field="outcomes",
            value=[int(a.size), int(b.size)],
            remedy="Compare outcomes on the same evaluation pack.",
        )
    gaps = a - b
    per_image, seeds = gaps.mean(axis=0), len(gaps)
    value, n, total = float(per_image.mean()), per_image.size + 2, float(per_image.sum())
    half = Z95 * math.sqrt(float(np.square(per_image).sum()) + 1 - total**2 / n) / n
    if seeds == 1:
        return value, max(-1.0, total / n - half), min(1.0, total / n + half)
    residual = gaps - per_image - gaps.mean(axis=1, keepdims=True) + value
    per_mean = float(np.square(residual).sum()) / (seeds - 1) / max(1, per_image.size - 1) / gaps.size
    spread = float(a.mean(axis=1).var(ddof=1) + b.mean(axis=1).var(ddof=1)) / seeds
    of_seeds = max(0.0, t95(2 * (seeds - 1)) ** 2 * spread - Z95**2 * per_mean)
    half = math.hypot(half, math.sqrt(of_seeds))
    return value, max(-1.0, value - half), min(1.0, value + half)


def pareto_front(latency: Sequence[float], accuracy: Sequence[float]) -> list[bool]:
    """Say for each point whether no other is as fast and as accurate, and better in one; equal points share."""
    front = [False] * len(latency)
    best, edge = -math.inf, math.nan
    for i in sorted(range(len(latency)), key=lambda i: (latency[i], -accuracy[i])):
        if accuracy[i] > best:
            best, edge = accuracy[i], latency[i]
        front[i] = accuracy[i] == best and latency[i] == edge
    return front
