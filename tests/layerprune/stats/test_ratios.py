"""Ratios of latencies and their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from layerprune.api.errors import BadInput
from layerprune.samples import Block, ProcessSamples, SampleSet
from layerprune.stats import LOOK_ALPHA, TARGET_HALF_WIDTH, RatioEstimate, ratio, ratio_of_ratios, student_quantile


def test_a_ratio_without_noise_is_exact(constant: Callable[..., SampleSet]) -> None:
    found = ratio(constant(50), constant(100), seed=0)
    assert (found.value, found.ci_low, found.ci_high) == pytest.approx((0.5, 0.5, 0.5))
    assert (found.low_value, found.low_ci_low, found.low_ci_high) == pytest.approx((0.5, 0.5, 0.5))


def test_five_processes_use_students_interval_over_their_log_ratios(constant: Callable[..., SampleSet]) -> None:
    # Log ratios 0, 0, 0, 0, ln 2: mean 0.13863, standard error 0.13863.
    found = ratio(constant(100, 100, 100, 100, 200), constant(100, 100, 100, 100, 100), seed=0)
    mean = math.log(2) / 5
    assert math.log(found.value) == pytest.approx(mean)
    assert found.half_width == pytest.approx(student_quantile(4, LOOK_ALPHA) * mean)
    assert (found.processes, found.df) == (5, 4)


def test_the_interval_of_one_process_covers_the_truth_about_as_often_as_it_says(
    noisy: Callable[..., SampleSet],
) -> None:
    covered = 0
    for seed in range(200):
        found = ratio(noisy(1e6, seed), noisy(1e6, seed + 1000), seed=seed)
        covered += found.ci_low <= 1 <= found.ci_high
    assert covered / 200 >= 0.93


def test_the_interval_of_three_processes_covers_the_truth(noisy: Callable[..., SampleSet]) -> None:
    covered = 0
    for seed in range(100):
        found = ratio(noisy(1e6, seed, processes=3), noisy(1e6, seed + 1000, processes=3), seed=seed)
        covered += found.ci_low <= 1 <= found.ci_high
    assert covered / 100 >= 0.9


def test_the_same_seed_gives_the_same_interval(noisy: Callable[..., SampleSet]) -> None:
    assert ratio(noisy(1e6, 1), noisy(1e6, 2), seed=3) == ratio(noisy(1e6, 1), noisy(1e6, 2), seed=3)


def test_thinning_long_blocks_leaves_the_interval(process: Callable[..., ProcessSamples]) -> None:
    rng = np.random.default_rng(0)
    drawn = [(1e6 * math.exp(rng.normal(0, 0.01)) * rng.lognormal(0, 0.03, 4000)).astype(np.int64) for _ in range(10)]
    base = SampleSet((process(*[[1_000_000] * 4000] * 10),))
    whole = ratio(SampleSet((process(*drawn),)), base, seed=0)
    short = ratio(SampleSet((process(*[np.sort(d)[10::20] for d in drawn]),)), base, seed=0)
    assert whole.half_width == pytest.approx(short.half_width, rel=0.1)


def test_sessions_of_different_processes_are_not_compared(constant: Callable[..., SampleSet]) -> None:
    with pytest.raises(BadInput, match="timed in 2 and 1 processes"):
        ratio(constant(1, 1), constant(1), seed=0)


def test_sessions_without_two_common_cycles_are_not_compared(constant: Callable[..., SampleSet]) -> None:
    with pytest.raises(BadInput, match="share 1 cycles"):
        ratio(constant(1, cycles=1), constant(1, cycles=4), seed=0)


def test_a_ratio_of_ratios_adds_their_uncertainties_in_squares() -> None:
    a = RatioEstimate(0.6, 0.6 * math.exp(-0.03), 0.6 * math.exp(0.03), 0.6, 1)
    b = RatioEstimate(0.5, 0.5 * math.exp(-0.04), 0.5 * math.exp(0.04), 0.5, 5)
    found = ratio_of_ratios(a, b)
    assert found.value == pytest.approx(1.2)
    assert found.half_width == pytest.approx(0.05)
    assert found.processes == 1
    assert found.low_half_width is None


def test_intervals_of_tenth_percentiles_are_added_too() -> None:
    a = RatioEstimate(0.6, 0.6, 0.6, 0.6, 5, 0.6 * math.exp(-0.03), 0.6 * math.exp(0.03), df=4)
    b = RatioEstimate(0.5, 0.5, 0.5, 0.5, 5, 0.5 * math.exp(-0.04), 0.5 * math.exp(0.04), df=7)
    found = ratio_of_ratios(a, b)
    assert (found.low_value, found.low_half_width, found.df) == (pytest.approx(1.2), pytest.approx(0.05), 4)


def test_noise_that_only_adds_time_widens_the_median_more_than_the_tenth_percentile() -> None:
    rng = np.random.default_rng(0)

    def disturbed() -> SampleSet:
        """One process; 0 to 80 % of the samples of a cycle are disturbed and take half as long again."""
        cycles = [
            np.where(rng.random(50) < rng.uniform(0, 0.8), 1_500_000, 1_000_000) + rng.integers(0, 1000, 50)
            for _ in range(16)
        ]
        return SampleSet((ProcessSamples(tuple(Block(i, 0, cycle) for i, cycle in enumerate(cycles)), warmup_runs=50),))

    found = ratio(disturbed(), disturbed(), seed=0)
    assert found.low_half_width is not None
    assert found.low_half_width < 0.01 < found.half_width


def test_the_interval_of_tenth_percentiles_covers_the_truth_about_as_often_as_it_says(
    noisy: Callable[..., SampleSet],
) -> None:
    covered = 0
    for seed in range(200):
        found = ratio(noisy(1e6, seed), noisy(1e6, seed + 1000), seed=seed)
        assert found.low_ci_low is not None
        assert found.low_ci_high is not None
        covered += found.low_ci_low <= 1 <= found.low_ci_high
    assert covered / 200 >= 0.92


@pytest.mark.parametrize("looks", [(5, 8, 12, 16), (8, 12, 16)])
@pytest.mark.parametrize("spread", [0.006, 0.008, 0.01, 0.012, 0.015, 0.018, 0.022, 0.03])
def test_intervals_hold_although_measuring_stops_when_they_are_narrow(looks: tuple[int, ...], spread: float) -> None:
    """20000 measurements whose processes spread so much, each stopped at the first look that finds it narrow."""
    runs = 20_000
    logs = np.random.default_rng(int(1000 * spread)).normal(0, spread, (runs, looks[-1]))
    open_, held = np.ones(runs, dtype=bool), 0
    for n in looks:
        half = student_quantile(n - 1, LOOK_ALPHA) * logs[:, :n].std(axis=1, ddof=1) / math.sqrt(n)
        stopped = open_ & ((half <= TARGET_HALF_WIDTH) | (n == looks[-1]))
        held += int((stopped & (np.abs(logs[:, :n].mean(axis=1)) <= half)).sum())
        open_ &= ~stopped
    # Three standard errors of a share of 20000.
    assert held / runs >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)
