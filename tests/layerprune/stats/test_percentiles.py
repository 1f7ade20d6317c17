"""The headline and the tails, against published vectors."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from layerprune.samples import ProcessSamples, SampleSet
from layerprune.stats import PERCENTILES, median_ns, percentile_bound_ns, percentile_bounds_ns, samples_needed


def test_the_headline_is_the_median_of_process_medians(process: Callable[..., ProcessSamples]) -> None:
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


def test_grouped_samples_have_no_percentiles(process: Callable[..., ProcessSamples]) -> None:
    assert percentile_bound_ns(SampleSet((process([5] * 1000, runs_per_sample=8),)), 0.5) is None


def test_order_of_samples_does_not_change_a_percentile() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1, 65))
    assert percentile_bound_ns(values, 0.9) == 64


def test_what_a_percentile_takes_at_least_is_known() -> None:
    assert {name: samples_needed(p) for name, p in PERCENTILES.items()} == {
        "p90": 64,
        "p95": 130,
        "p99": 662,
        "p99.9": 6636,
    }


def test_only_the_percentiles_with_samples_enough_are_given(process: Callable[..., ProcessSamples]) -> None:
    # 130 samples: the fifth largest bounds p90 (from 127 on), the largest p95 (from 130 on).
    samples = SampleSet((process(list(range(1, 100))), process(list(range(100, 131)))))
    assert percentile_bounds_ns(samples) == {"p90": 126, "p95": 130, "p99": None, "p99.9": None}


def test_the_bound_holds_with_its_confidence() -> None:
    rng = np.random.default_rng(0)
    truth = math.exp(1.2815515655)
    held = [percentile_bound_ns(1e6 * rng.lognormal(0, 1, 150), 0.9) or 0 for _ in range(2000)]
    assert np.mean(np.array(held) >= 1e6 * truth) >= 0.985


def test_a_million_samples_take_no_longer_than_their_sorting() -> None:
    values = np.arange(1, 1_000_001)
    bound = percentile_bound_ns(values, 0.5)
    # 2.326 deviations of a binomial of a million halves above the middle.
    assert bound == pytest.approx(500_000 + 2.326 * 500, abs=5)
