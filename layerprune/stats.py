"""Statistics of measured samples and of accuracies; deterministic, numpy only.

The server computes every number that it shows with these functions from the stored samples, whatever the worker said.
Intervals are two-sided at 95 %. Sources: MLPerf LoadGen's early stopping for percentiles; Kalibera and Jones (2012) for
intervals from the top level of repetition; Wilson (1927) and Agresti and Min (2005) for proportions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from layerprune.api.errors import BadInput
from layerprune.samples import ProcessSamples, SampleSet

Z95 = 1.959963984540054
MIN_PROCESSES_FOR_T = 5
RESAMPLES = 1000
MAX_HALF_WIDTH = 0.02
"""`ci_not_met`: the interval of the log ratio to the base is wider than this to either side."""
AA_SIGNIFICANT = 0.01
AA_ALWAYS = 0.03
"""`aa_off`: |log ratio| of the base to itself is above the first and its interval excludes 1, or above the second."""
_VALUES_PER_CYCLE = 200
_T95 = (
    12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216, 2.22814, 2.20099, 2.17881, 2.16037,
    2.14479, 2.13145, 2.11991, 2.10982, 2.10092, 2.09302, 2.08596, 2.07961, 2.07387, 2.06866, 2.06390, 2.05954, 2.05553,
    2.05183, 2.04841, 2.04523, 2.04227,
)  # fmt: skip


@dataclass(frozen=True)
class RatioEstimate:
    """Latency of one session as a multiple of another's: of medians with its interval, and of tenth percentiles.

    The low percentile is steadier on shared machines, where noise only ever adds time; where the two disagree by more
    than the interval, look at the samples.
    """

    value: float
    ci_low: float
    ci_high: float
    low_value: float
    processes: int

    @property
    def half_width(self) -> float:
        """Half the width of the interval of the log ratio, about the relative uncertainty."""
        return (math.log(self.ci_high) - math.log(self.ci_low)) / 2


def median_ns(samples: SampleSet) -> int:
    """Return the headline latency: the median over processes of each process's median."""
    return round(float(np.median([np.median(process.all_ns()) for process in samples.processes])))


def percentile_bound_ns(samples: SampleSet | ArrayLike, p: float, confidence: float = 0.99) -> int | None:
    """Return an upper bound for the p-quantile (0 < p < 1) that holds with `confidence`, for any distribution.

    None if the samples are too few for it, or are means of several inferences. All processes are pooled. From MLPerf
    LoadGen's early stopping: with t the largest number of samples that may lie above, the t-th largest is the bound.
    """
    if isinstance(samples, SampleSet) and samples.grouped:
        return None
    values = np.sort(samples.all_ns() if isinstance(samples, SampleSet) else np.asarray(samples))
    over = _allowed_above(len(values), 1 - p, 1 - confidence)
    return None if over < 1 else int(values[len(values) - over])


def ratio(variant: SampleSet, base: SampleSet, *, seed: int) -> RatioEstimate:
    """Compare two sessions that were timed interleaved in the same processes.

    The value is the geometric mean over processes of the ratio of medians. From five processes on the interval is
    Student's over their log ratios. Below that it comes from a bootstrap over cycles (and over processes, if there are
    two to four) with Student's factor for the number of cycles; with one process it cannot see differences between
    processes. Raises BadInput if the two were not timed in the same processes, or in fewer than two common cycles.
    """
    if len(variant.processes) != len(base.processes):
        raise BadInput(
            f"the sessions were timed in {len(variant.processes)} and {len(base.processes)} processes",
            field="samples",
            value=[len(variant.processes), len(base.processes)],
            remedy="Compare only sessions of one group.",
        )
    pairs = list(zip(variant.processes, base.processes, strict=True))
    logs = np.array([_log_ratio(a, b, np.median) for a, b in pairs])
    lows = np.array([_log_ratio(a, b, _low) for a, b in pairs])
    centre, n = float(logs.mean()), len(pairs)
    if n >= MIN_PROCESSES_FOR_T:
        half = t95(n - 1) * float(logs.std(ddof=1)) / math.sqrt(n)
    else:
        half = _bootstrap_half_width(pairs, np.random.default_rng(seed))
    return RatioEstimate(math.exp(centre), math.exp(centre - half), math.exp(centre + half), math.exp(lows.mean()), n)


def ratio_of_ratios(a: RatioEstimate, b: RatioEstimate) -> RatioEstimate:
    """Compare two ratios that were measured independently (in other groups), each to its own base."""
    centre, half = math.log(a.value / b.value), math.hypot(a.half_width, b.half_width)
    return RatioEstimate(
        value=math.exp(centre),
        ci_low=math.exp(centre - half),
        ci_high=math.exp(centre + half),
        low_value=a.low_value / b.low_value,
        processes=min(a.processes, b.processes),
    )


def sample_flags(variant: SampleSet, base: SampleSet, aa: SampleSet, *, seed: int) -> list[str]:
    """Derive the flags that follow from the samples of a session, its base and the A/A control of the same group."""
    return ratio_flags(ratio(variant, base, seed=seed), ratio(aa, base, seed=seed))


def ratio_flags(own: RatioEstimate, control: RatioEstimate) -> list[str]:
    """Derive the flags from a session's ratio to the base and from that of the A/A control of the same group."""
    drift = abs(math.log(control.value))
    flags = []
    if own.half_width > MAX_HALF_WIDTH:
        flags.append("ci_not_met")
    if drift > AA_ALWAYS or (drift > AA_SIGNIFICANT and not control.ci_low <= 1 <= control.ci_high):
        flags.append("aa_off")
    if own.processes == 1:
        flags.append("single_process")
    return flags


def wilson(correct: int, n: int) -> tuple[float, float, float]:
    """Return a proportion with Wilson's score interval."""
    value, z2 = correct / n, Z95**2
    middle = (value + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(value * (1 - value) / n + z2 / (4 * n * n))
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


def t95(df: int) -> float:
    """Return the factor of a two-sided 95 % Student interval with `df` degrees of freedom."""
    if df <= len(_T95):
        return _T95[df - 1]
    return Z95 + (Z95**3 + Z95) / (4 * df) + (5 * Z95**5 + 16 * Z95**3 + 3 * Z95) / (96 * df**2)


def _allowed_above(n: int, tail: float, risk: float) -> int:
    """Largest t with P(Binomial(n, tail) <= t) <= risk; -1 if there is none."""
    total, t = 0.0, -1
    while t < n:
        k = t + 1
        log_choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        total += math.exp(log_choose + k * math.log(tail) + (n - k) * math.log1p(-tail))
        if total > risk:
            break
        t = k
    return t


def _low(values: NDArray[np.int64]) -> float:
    return float(np.quantile(values, 0.1))


def _log_ratio(a: ProcessSamples, b: ProcessSamples, statistic: Callable[[NDArray[np.int64]], float]) -> float:
    return math.log(statistic(a.all_ns()) / statistic(b.all_ns()))


def _bootstrap_half_width(pairs: list[tuple[ProcessSamples, ProcessSamples]], rng: np.random.Generator) -> float:
    """Half width of the log ratio's interval, from resampled cycles within resampled processes."""
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
        medians = [_resampled_medians([values[c] for c in common], draws) for values in (ours, theirs)]
        resampled.append(np.log(medians[0] / medians[1]))
        cycles.append(len(common))
    table = np.stack(resampled, axis=1)
    if len(pairs) > 1:
        chosen = rng.integers(len(pairs), size=table.shape)
        table = np.take_along_axis(table, chosen, axis=1)
    # A bootstrap over n units shows only (n - 1) / n of their variance.
    shrunk = min(cycles) if len(pairs) == 1 else len(pairs)
    spread = float(table.mean(axis=1).std(ddof=1)) * math.sqrt(shrunk / (shrunk - 1))
    return t95(sum(cycles) - len(cycles)) * spread


def _by_cycle(process: ProcessSamples) -> dict[int, NDArray[np.int64]]:
    grouped: dict[int, list[NDArray[np.int64]]] = {}
    for block in process.blocks:
        grouped.setdefault(block.cycle, []).append(block.samples_ns)
    return {cycle: _thinned(np.concatenate(blocks)) for cycle, blocks in grouped.items()}


def _thinned(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most some hundred evenly spaced order statistics: enough for a median, and cheap to resample."""
    ordered = np.sort(values)
    if len(ordered) <= _VALUES_PER_CYCLE:
        return ordered
    return np.take(ordered, np.linspace(0, len(ordered) - 1, _VALUES_PER_CYCLE).astype(int))


def _resampled_medians(cycles: list[NDArray[np.int64]], draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """Median of all values of the drawn cycles; `draws` (resample, cycle) says how often each was drawn."""
    values = np.concatenate(cycles)
    owner = np.repeat(np.arange(len(cycles)), [len(c) for c in cycles])
    order = np.argsort(values, kind="stable")
    weight = np.cumsum(draws[:, owner[order]], axis=1)
    middle = np.argmax(weight * 2 >= weight[:, -1:], axis=1)
    medians: NDArray[np.float64] = values[order][middle].astype(np.float64)
    return medians
