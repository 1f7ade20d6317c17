"""Accuracies and their differences against numbers by hand and against their definitions."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerprune.api.errors import BadInput
from layerprune.stats import mean_gap, pareto_front, wilson

NORMAL = NormalDist()


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
    assert (high - low) / 2 == pytest.approx(math.hypot(2.776445 * 0.1 / math.sqrt(3), images))


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
