"""Statistics against numbers by hand, against published vectors and against their definitions."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from layerprune.api.errors import BadInput
from layerprune.flags import FLAGS, verdict
from layerprune.samples import Block, ProcessSamples, SampleSet
from layerprune.stats import (
    RatioEstimate,
    mean_gap,
    median_ns,
    pareto_front,
    percentile_bound_ns,
    ratio,
    ratio_of_ratios,
    sample_flags,
    t95,
    wilson,
)

NORMAL = NormalDist()


def process(*cycles: list[int] | NDArray[np.int64], runs_per_sample: int = 1) -> ProcessSamples:
    blocks = tuple(Block(i, 0, np.array(cycle, dtype=np.int64)) for i, cycle in enumerate(cycles))
    return ProcessSamples(blocks, warmup_runs=50, runs_per_sample=runs_per_sample)


def constant(*latencies: int, cycles: int = 3) -> SampleSet:
    """One process for each latency, which it takes every time."""
    return SampleSet(tuple(process(*[[latency] * 5] * cycles) for latency in latencies))


def noisy(latency: float, seed: int, *, processes: int = 1, cycles: int = 10) -> SampleSet:
    """Cycles that differ by 1 %, samples in them by 3 %."""
    rng = np.random.default_rng(seed)
    return SampleSet(
        tuple(
            process(
                *[
                    (latency * math.exp(rng.normal(0, 0.01)) * rng.lognormal(0, 0.03, 20)).astype(np.int64)
                    for _ in range(cycles)
                ]
            )
            for _ in range(processes)
        )
    )


def test_the_headline_is_the_median_of_process_medians() -> None:
    # Pooled, the median would be 100: the process with many samples would outvote the other two.
    samples = SampleSet((process([100] * 50), process([300, 310, 320]), process([200, 220, 999])))
    assert median_ns(samples) == 220


@pytest.mark.parametrize(
    ("p", "floors"),
    [
        (0.5, (11, 14, 22, 35)),
        (0.9, (64, 81, 127, 197)),
        (0.95, (130, 165, 259, 398)),
        (0.99, (662, 838, 1307, 2010)),
        (0.999, (6636, 8403, 13105, 20140)),
    ],
)
def test_percentile_bounds_agree_with_loadgen(p: float, floors: tuple[int, ...]) -> None:
    # With samples 1..n the bound says how many were discarded: the t-th largest is n + 1 - t.
    for t, n in zip((1, 2, 5, 10), floors, strict=True):
        assert percentile_bound_ns(np.arange(1, n + 1), p) == n + 1 - t
        before = percentile_bound_ns(np.arange(1, n), p)
        assert before == (None if t == 1 else n - (t - 1))


def test_a_percentile_below_its_floor_is_none() -> None:
    assert percentile_bound_ns(np.arange(1, 64), 0.9) is None


def test_grouped_samples_have_no_percentiles() -> None:
    assert percentile_bound_ns(SampleSet((process([5] * 1000, runs_per_sample=8),)), 0.5) is None


def test_order_of_samples_does_not_change_a_percentile() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1, 65))
    assert percentile_bound_ns(values, 0.9) == 64


def test_a_ratio_without_noise_is_exact() -> None:
    found = ratio(constant(50), constant(100), seed=0)
    assert (found.value, found.ci_low, found.ci_high, found.low_value) == pytest.approx((0.5, 0.5, 0.5, 0.5))


def test_five_processes_use_students_interval_over_their_log_ratios() -> None:
    # Log ratios 0, 0, 0, 0, ln 2: mean 0.13863, standard error 0.13863, t(4) = 2.77645.
    found = ratio(constant(100, 100, 100, 100, 200), constant(100, 100, 100, 100, 100), seed=0)
    mean = math.log(2) / 5
    assert math.log(found.value) == pytest.approx(mean)
    assert found.half_width == pytest.approx(2.77645 * mean, rel=1e-5)
    assert found.processes == 5


def test_the_interval_of_one_process_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        found = ratio(noisy(1e6, seed), noisy(1e6, seed + 1000), seed=seed)
        covered += found.ci_low <= 1 <= found.ci_high
    assert covered / 200 >= 0.93


def test_the_interval_of_three_processes_covers_the_truth() -> None:
    covered = 0
    for seed in range(100):
        found = ratio(noisy(1e6, seed, processes=3), noisy(1e6, seed + 1000, processes=3), seed=seed)
        covered += found.ci_low <= 1 <= found.ci_high
    assert covered / 100 >= 0.9


def test_the_same_seed_gives_the_same_interval() -> None:
    assert ratio(noisy(1e6, 1), noisy(1e6, 2), seed=3) == ratio(noisy(1e6, 1), noisy(1e6, 2), seed=3)


def test_thinning_long_blocks_leaves_the_interval() -> None:
    rng = np.random.default_rng(0)
    drawn = [(1e6 * math.exp(rng.normal(0, 0.01)) * rng.lognormal(0, 0.03, 4000)).astype(np.int64) for _ in range(10)]
    base = SampleSet((process(*[[1_000_000] * 4000] * 10),))
    whole = ratio(SampleSet((process(*drawn),)), base, seed=0)
    short = ratio(SampleSet((process(*[np.sort(d)[10::20] for d in drawn]),)), base, seed=0)
    assert whole.half_width == pytest.approx(short.half_width, rel=0.1)


def test_sessions_of_different_processes_are_not_compared() -> None:
    with pytest.raises(BadInput, match="timed in 2 and 1 processes"):
        ratio(constant(1, 1), constant(1), seed=0)


def test_sessions_without_two_common_cycles_are_not_compared() -> None:
    with pytest.raises(BadInput, match="share 1 cycles"):
        ratio(constant(1, cycles=1), constant(1, cycles=4), seed=0)


def test_a_ratio_of_ratios_adds_their_uncertainties_in_squares() -> None:
    a = RatioEstimate(0.6, 0.6 * math.exp(-0.03), 0.6 * math.exp(0.03), 0.6, 1)
    b = RatioEstimate(0.5, 0.5 * math.exp(-0.04), 0.5 * math.exp(0.04), 0.5, 5)
    found = ratio_of_ratios(a, b)
    assert found.value == pytest.approx(1.2)
    assert found.half_width == pytest.approx(0.05)
    assert found.processes == 1


def test_a_quiet_measurement_has_only_the_note() -> None:
    flags = sample_flags(constant(50), constant(100), constant(100), seed=0)
    assert flags == ["single_process"]
    assert verdict(flags) == "stable"


def test_a_wide_interval_is_flagged() -> None:
    wild = SampleSet((process([100] * 5, [130] * 5, [90] * 5),))
    assert "ci_not_met" in sample_flags(wild, constant(100), constant(100), seed=0)


@pytest.mark.parametrize(("aa", "off"), [(100_900, False), (101_200, True), (98_000, True)])
def test_a_control_that_is_certainly_off_is_flagged(aa: int, off: bool) -> None:
    assert ("aa_off" in sample_flags(constant(50_000), constant(100_000), constant(aa), seed=0)) is off


def test_a_control_that_is_far_off_is_flagged_however_uncertain() -> None:
    uncertain = SampleSet((process([104] * 5, [80] * 5, [130] * 5),))
    found = ratio(uncertain, constant(100), seed=0)
    assert found.ci_low < 1 < found.ci_high
    assert "aa_off" in sample_flags(constant(50), constant(100), uncertain, seed=0)


def test_five_processes_are_not_noted_as_single() -> None:
    five = constant(*[100] * 5)
    assert sample_flags(five, five, five, seed=0) == []


def test_wilson_by_hand() -> None:
    # Wilson (1927) for 8 of 10: (0.8 + 1.9207/10) / 1.38415 -+ 1.95996 / 1.38415 * sqrt(0.016 + 0.009604)
    assert wilson(8, 10) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)


def test_wilson_at_the_edges() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((1.0, 0.7225, 1.0), abs=1e-4)


def test_paired_difference_by_hand() -> None:
    # Ten images, a alone right on 3, b alone on 1: adjusted difference 2/12, half 1.96 * sqrt(5 - 4/12) / 12 = 0.3528.
    a = [True] * 3 + [False] * 1 + [True] * 6
    b = [False] * 3 + [True] * 1 + [True] * 6
    assert mean_gap(a, b) == pytest.approx((0.2, 1 / 6 - 0.3528, 1 / 6 + 0.3528), abs=1e-4)


def test_networks_that_never_differ_still_have_an_interval() -> None:
    value, low, high = mean_gap([True] * 540, [True] * 540)
    assert value == 0
    assert high == -low == pytest.approx(1.96 / 542, rel=1e-3)


def test_outcomes_on_different_packs_are_not_paired() -> None:
    with pytest.raises(BadInput, match=r"shapes \(540,\) and \(10,\)"):
        mean_gap([True] * 540, [True] * 10)


POINTS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=30)


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    def dominated(point: tuple[int, int]) -> bool:
        return any(o[0] <= point[0] and o[1] >= point[1] and o != point for o in points)

    assert pareto_front([p[0] for p in points], [p[1] for p in points]) == [not dominated(p) for p in points]


def test_students_factor_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with layerprune[build]")
    assert [t95(df) for df in range(1, 200)] == pytest.approx(
        [stats.t.ppf(0.975, df) for df in range(1, 200)], rel=1e-4
    )


def test_flags_decide_the_verdict() -> None:
    assert verdict([]) == "stable"
    assert verdict(["single_process"]) == "stable"
    assert verdict(["single_process", "steal"]) == "flagged"
    assert verdict(["steal", "output_mismatch"]) == "invalid"
    with pytest.raises(BadInput, match=r"unknown flag 'sunny'.*aa_off"):
        verdict(["sunny"])


def test_every_flag_says_what_it_means_and_what_to_do() -> None:
    assert all(flag.meaning and flag.remedy for flag in FLAGS.values())


def test_shares_of_outcomes_are_compared_as_outcomes_are() -> None:
    # Half a gap on 20 of 100 images: sum 10, sum of squares 5.
    value, low, high = mean_gap(np.where(np.arange(100) < 20, 0.5, 0.0), np.zeros(100))
    half = 1.959964 * math.sqrt(5 + 1 - 10**2 / 102) / 102
    assert (value, low, high) == (0.1, pytest.approx(10 / 102 - half), pytest.approx(10 / 102 + half))


def test_seeds_add_students_interval_of_their_means() -> None:
    # Every image the same in a seed: no residual. Means 0, 0.1, 0.2 and 0: standard deviations 0.1 and 0, t(4) = 2.776.
    first = np.repeat([[0.0], [0.1], [0.2]], 1000, axis=1)
    _, low, high = mean_gap(first, np.zeros((3, 1000)))
    images = 1.959964 * math.sqrt(1000 * 0.01 + 1 - 100**2 / 1002) / 1002
    assert (high - low) / 2 == pytest.approx(math.hypot(2.77645 * 0.1 / math.sqrt(3), images))


@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_gap_turned_round_has_the_interval_turned_round(seeds: int, images: int, seed: int) -> None:
    first, second = np.random.default_rng(seed).uniform(0, 1, (2, seeds, images))
    (value, low, high), (other, other_low, other_high) = mean_gap(first, second), mean_gap(second, first)
    assert (value, low, high) == pytest.approx((-other, -other_high, -other_low))
    assert -1 <= low <= value <= high <= 1


@pytest.mark.parametrize(
    ("seeds", "of_seeds"), [(1, 0.0), (2, 0.0), (2, 0.02), (3, 0.0), (3, 0.01), (3, 0.03), (5, 0.005), (5, 0.05)]
)
def test_the_interval_of_images_and_seeds_covers_the_truth(seeds: int, of_seeds: float) -> None:
    """Two methods of true difference 0.02: networks vary by seed, 500 images by difficulty; 1000 repetitions."""
    rng = np.random.default_rng(seeds)
    held = 0
    for _ in range(1000):
        means = rng.normal([[0.82], [0.80]], of_seeds, (2, seeds))
        # An image is right if its difficulty, with noise of the network's own, lies below the network's quantile.
        difficulty = rng.normal(0, 1, 500) + rng.normal(0, 1, (2, seeds, 500))
        quantiles = [[NORMAL.inv_cdf(min(max(mean, 0.01), 0.99)) * math.sqrt(2) for mean in row] for row in means]
        right = (difficulty < np.array(quantiles)[:, :, None]).astype(float)
        _, low, high = mean_gap(right[0], right[1])
        held += low <= 0.02 <= high
    assert 0.93 <= held / 1000 <= 0.995


def test_more_seeds_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    table = (rng.normal(0, 1, 2000) + rng.normal(0, 1, (2, 9, 2000)) < 1).astype(float)
    widths = [high - low for _, low, high in (mean_gap(*table[:, :seeds]) for seeds in (3, 5, 9))]
    assert widths == sorted(widths, reverse=True)
