"""The ratio of two latencies that were measured interleaved, by medians and by 10th percentiles, with intervals.

Source: Kalibera and Jones (2012) for intervals from the top level of repetition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from layerprune.api.errors import BadInput
from layerprune.samples import ProcessSamples, SampleSet

from .student import student_quantile, t95

MIN_PROCESSES_FOR_T = 5
LOOK_ALPHA = 0.03
"""Level of each interval over processes. Measuring goes on until the intervals are narrow, looking after 5, 8, 12 and
16 processes; whoever stops at a width stops sooner where the spread came out small by chance. Intervals at 97 % at
every look miss the truth in 4.8 % of all measurements at the worst spread, those at 95 % in 7.5 %; a test simulates
it."""
RESAMPLES = 1000
QUANTILES = (0.5, 0.1)
"""The two statistics of a process's samples whose ratios are reported."""
_VALUES_PER_CYCLE = 200


@dataclass(frozen=True)
class RatioEstimate:
    """Latency of one session as a multiple of another's: of medians and of 10th percentiles, each with its interval.

    Where the two disagree by more than their intervals, look at the samples. `df` are the degrees of freedom of both
    intervals; those of a single quick process unless told otherwise. The interval of the 10th percentiles is None where
    it was not kept.
    """

    value: float
    ci_low: float
    ci_high: float
    low_value: float
    processes: int
    low_ci_low: float | None = None
    low_ci_high: float | None = None
    df: int = 15

    @property
    def half_width(self) -> float:
        """Half the width of the interval of the log ratio of medians, about the relative uncertainty."""
        return (math.log(self.ci_high) - math.log(self.ci_low)) / 2

    @property
    def low_half_width(self) -> float | None:
        """The same for the 10th percentiles."""
        if self.low_ci_low is None or self.low_ci_high is None:
            return None
        return (math.log(self.low_ci_high) - math.log(self.low_ci_low)) / 2


def ratio(variant: SampleSet, base: SampleSet, *, seed: int) -> RatioEstimate:
    """Compare two sessions that were timed interleaved in the same processes.

    The value is the geometric mean over processes of the ratio of medians. From five processes on the interval is
    Student's over their log ratios, at the level LOOK_ALPHA. Below that it comes from a bootstrap over cycles (and over
    processes, if there are two to four) with Student's factor for the number of cycles; with one process it cannot see
    differences between processes. The same is done with 10th percentiles. Raises BadInput if the two were not timed in
    the same processes, or in fewer than two common cycles.
    """
    if len(variant.processes) != len(base.processes):
        raise BadInput(
            f"the sessions were timed in {len(variant.processes)} and {len(base.processes)} processes",
            field="samples",
            value=[len(variant.processes), len(base.processes)],
            remedy="Compare only sessions of one group.",
        )
    pairs = list(zip(variant.processes, base.processes, strict=True))
    logs = np.array([_levels(a) - _levels(b) for a, b in pairs])
    n = len(pairs)
    if n >= MIN_PROCESSES_FOR_T:
        df = n - 1
        halves = student_quantile(df, LOOK_ALPHA) * logs.std(axis=0, ddof=1) / math.sqrt(n)
    else:
        df, halves = _bootstrap(pairs, np.random.default_rng(seed))
    return _estimate(logs.mean(axis=0), halves, processes=n, df=df)


def ratio_of_ratios(a: RatioEstimate, b: RatioEstimate) -> RatioEstimate:
    """Compare two ratios that were measured independently (in other groups), each to its own base."""
    centre, half = math.log(a.value / b.value), math.hypot(a.half_width, b.half_width)
    low_centre, low_half = math.log(a.low_value / b.low_value), None
    if a.low_half_width is not None and b.low_half_width is not None:
        low_half = math.hypot(a.low_half_width, b.low_half_width)
    return RatioEstimate(
        value=math.exp(centre),
        ci_low=math.exp(centre - half),
        ci_high=math.exp(centre + half),
        low_value=math.exp(low_centre),
        processes=min(a.processes, b.processes),
        low_ci_low=None if low_half is None else math.exp(low_centre - low_half),
        low_ci_high=None if low_half is None else math.exp(low_centre + low_half),
        df=min(a.df, b.df),
    )


def _estimate(centres: NDArray[np.float64], halves: NDArray[np.float64], *, processes: int, df: int) -> RatioEstimate:
    value, low_value = (float(v) for v in np.exp(centres))
    ci_low, low_ci_low = (float(v) for v in np.exp(centres - halves))
    ci_high, low_ci_high = (float(v) for v in np.exp(centres + halves))
    return RatioEstimate(value, ci_low, ci_high, low_value, processes, low_ci_low, low_ci_high, df)


def _levels(process: ProcessSamples) -> NDArray[np.float64]:
    """Logarithms of a process's median and 10th percentile."""
    levels: NDArray[np.float64] = np.log(np.quantile(process.all_ns(), QUANTILES))
    return levels


def _bootstrap(
    pairs: list[tuple[ProcessSamples, ProcessSamples]], rng: np.random.Generator
) -> tuple[int, NDArray[np.float64]]:
    """Degrees of freedom, and half widths of the log ratios, from resampled cycles within resampled processes."""
    resampled, cycles = [], []
    for a, b in pairs:
        ours, theirs = _by_cycle(a), _by_cycle(b)
        common = sorted(ours.keys() & theirs.keys())
        if len(common) < 2:
            raise BadInput(
                f"two sessions share {len(common)} cycles, which says nothing about their spread",
                field="samples",
                value=len(common),
                remedy="Time the sessions interleaved, in at least two cycles.",
            )
        draws = rng.multinomial(len(common), np.full(len(common), 1 / len(common)), size=RESAMPLES)
        levels = [_resampled_levels([values[c] for c in common], draws) for values in (ours, theirs)]
        resampled.append(levels[0] - levels[1])
        cycles.append(len(common))
    table = np.stack(resampled, axis=1)
    if len(pairs) > 1:
        chosen = rng.integers(len(pairs), size=table.shape[:2])
        table = np.take_along_axis(table, chosen[:, :, None], axis=1)
    # A bootstrap over n units shows only (n - 1) / n of their variance.
    shrunk = min(cycles) if len(pairs) == 1 else len(pairs)
    df = sum(cycles) - len(cycles)
    halves: NDArray[np.float64] = t95(df) * table.mean(axis=1).std(axis=0, ddof=1) * math.sqrt(shrunk / (shrunk - 1))
    return df, halves


def _by_cycle(process: ProcessSamples) -> dict[int, NDArray[np.int64]]:
    grouped: dict[int, list[NDArray[np.int64]]] = {}
    for block in process.blocks:
        grouped.setdefault(block.cycle, []).append(block.samples_ns)
    return {cycle: _thinned(np.concatenate(blocks)) for cycle, blocks in grouped.items()}


def _thinned(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most some hundred evenly spaced order statistics: enough for a quantile, and cheap to resample."""
    ordered = np.sort(values)
    if len(ordered) <= _VALUES_PER_CYCLE:
        return ordered
    return np.take(ordered, np.linspace(0, len(ordered) - 1, _VALUES_PER_CYCLE).astype(int))


def _resampled_levels(cycles: list[NDArray[np.int64]], draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """Logarithms of the QUANTILES of all values of the drawn cycles, (resample, quantile).

    `draws` (resample, cycle) says how often each cycle was drawn.
    """
    values = np.concatenate(cycles)
    owner = np.repeat(np.arange(len(cycles)), [len(c) for c in cycles])
    order = np.argsort(values, kind="stable")
    weight = np.cumsum(draws[:, owner[order]], axis=1)
    at = np.stack([np.argmax(weight >= q * weight[:, -1:], axis=1) for q in QUANTILES], axis=1)
    levels: NDArray[np.float64] = np.log(values[order][at].astype(np.float64))
    return levels
