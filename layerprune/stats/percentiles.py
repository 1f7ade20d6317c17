"""The headline latency and the tails, with bounds that hold for any distribution."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from layerprune.samples import SampleSet

PERCENTILES = {"p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
"""The tails that are shown where there are samples enough, by the names they are shown under."""
CONFIDENCE = 0.99


def median_ns(samples: SampleSet) -> int:
    """Return the headline latency: the median over processes of each process's median."""
    return round(float(np.median([np.median(process.all_ns()) for process in samples.processes])))


def percentile_bound_ns(samples: SampleSet | ArrayLike, p: float, confidence: float = CONFIDENCE) -> int | None:
    """Return an upper bound for the p-quantile (0 < p < 1) that holds with `confidence`, for any distribution.

    None if the samples are too few for it, or are means of several inferences. All processes are pooled. From MLPerf
    LoadGen's early stopping: with t the largest number of samples that may lie above, the t-th largest is the bound.
    """
    if isinstance(samples, SampleSet) and samples.grouped:
        return None
    values = np.asarray(samples.all_ns() if isinstance(samples, SampleSet) else samples)
    over = _allowed_above(len(values), 1 - p, 1 - confidence)
    return None if over < 1 else int(np.partition(values, len(values) - over)[len(values) - over])


def percentile_bounds_ns(samples: SampleSet) -> dict[str, int | None]:
    """Return the bound of each of PERCENTILES; None where the samples are too few, see `samples_needed`."""
    return {name: percentile_bound_ns(samples, p) for name, p in PERCENTILES.items()}


def samples_needed(p: float, confidence: float = CONFIDENCE) -> int:
    """Return how many samples the bound of the p-quantile takes at least: 64 for p90, 662 for p99."""
    n = 1
    while _allowed_above(n, 1 - p, 1 - confidence) < 1:
        n *= 2
    low = n // 2
    while low + 1 < n:
        middle = (low + n) // 2
        low, n = (low, middle) if _allowed_above(middle, 1 - p, 1 - confidence) >= 1 else (middle, n)
    return n


def _allowed_above(n: int, tail: float, risk: float) -> int:
    """Largest t with P(Binomial(n, tail) <= t) <= risk; -1 if there is none."""
    # What lies twelve deviations below the mean adds nothing to the sum, and takes long to add up.
    t = max(0, math.floor(n * tail - 12 * math.sqrt(n * tail * (1 - tail)))) - 1
    total = 0.0
    while t < n:
        k = t + 1
        log_choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        total += math.exp(log_choose + k * math.log(tail) + (n - k) * math.log1p(-tail))
        if total > risk:
            break
        t = k
    return t
