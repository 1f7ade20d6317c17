"""Whether a session ran alike all the time: change points and autocorrelation of its samples.

Change points are those that PELT finds (Killick, Fearnhead and Eckley, 2012) for the cost of squared errors; its
pruning saves nothing at some hundred values, so that plain optimal partitioning (Jackson and others, 2005) does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from layerprune.samples import ProcessSamples, SampleSet

MAX_SHIFT = 0.02
"""`changepoint`: the level of block medians shifts by more than this share."""
MAX_AUTOCORRELATION = 0.3
"""`autocorrelated`: successive samples are correlated by more than this."""
MIN_SEGMENT = 6
"""Blocks between two change points: a level of three cycles at least."""
MAX_VALUES = 500
_LEAST_VARIANCE = 1e-12


def drift_flags(samples: SampleSet) -> list[str]:
    """Derive the flags of a session's samples: `changepoint` if half of its processes have one, `autocorrelated`.

    The median over processes, which is the headline, does not follow fewer than half of them.
    """
    shifted = [_shift(process) > MAX_SHIFT for process in samples.processes]
    lags = [autocorrelation(process) for process in samples.processes]
    flags = ["changepoint"] if 2 * sum(shifted) >= len(shifted) else []
    return [*flags, "autocorrelated"] if float(np.median(lags)) > MAX_AUTOCORRELATION else flags


def changepoints(values: ArrayLike, *, least: int = MIN_SEGMENT) -> list[int]:
    """Return where the level of positive `values` changes, as indices of the first value after each change.

    Exact minimum of squared errors of the logarithms plus 2 log(n) s^2 for each change, with s from the median absolute
    difference of neighbours, which changes of level do not reach. Segments have at least `least` values.
    """
    logs = np.log(np.asarray(values, dtype=np.float64))
    n = len(logs)
    if n < 2 * least:
        return []
    spread = 1.4826 * float(np.median(np.abs(np.diff(logs)))) / math.sqrt(2)
    penalty = 2 * math.log(n) * max(spread**2, _LEAST_VARIANCE)
    logs = logs - logs.mean()
    sums, squares = (np.concatenate([[0.0], np.cumsum(v)]) for v in (logs, logs**2))
    best, last = np.full(n + 1, math.inf), np.zeros(n + 1, dtype=int)
    best[0] = -penalty
    for end in range(least, n + 1):
        starts = np.arange(end - least + 1)
        errors = squares[end] - squares[starts] - (sums[end] - sums[starts]) ** 2 / (end - starts)
        last[end] = int(np.argmin(best[starts] + errors))
        best[end] = best[last[end]] + errors[last[end]] + penalty
    found = []
    while n > 0:
        n = int(last[n])
        found.append(n)
    return found[-2::-1]


def largest_shift(values: ArrayLike, changes: Sequence[int]) -> float:
    """Return the largest |log ratio| between the medians of neighbouring segments; 0 without changes."""
    segments = np.split(np.asarray(values, dtype=np.float64), list(changes))
    levels = np.log([float(np.median(segment)) for segment in segments])
    return float(np.abs(np.diff(levels)).max()) if len(levels) > 1 else 0.0


def autocorrelation(process: ProcessSamples) -> float:
    """Return the correlation of successive samples within blocks, of logarithms about the process's mean; 0 if none."""
    blocks = [np.log(block.samples_ns) for block in process.blocks]
    centred = np.concatenate(blocks)
    mean, variance = float(centred.mean()), float(centred.var())
    products = np.concatenate([(block[1:] - mean) * (block[:-1] - mean) for block in blocks])
    return float(products.mean()) / variance if variance > _LEAST_VARIANCE and len(products) else 0.0


def _shift(process: ProcessSamples) -> float:
    """The largest shift among the process's block medians in order of time, at most MAX_VALUES of them."""
    medians = np.array([float(np.median(block.samples_ns)) for block in process.blocks])
    if len(medians) > MAX_VALUES:
        medians = np.array([float(np.median(part)) for part in np.array_split(medians, MAX_VALUES)])
    return largest_shift(medians, changepoints(medians))
