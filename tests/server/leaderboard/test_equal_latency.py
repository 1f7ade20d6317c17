"""Accuracy at one latency, where contenders are there and where fronts are interpolated."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerprune.stats import RatioEstimate, ratio_of_ratios
from server.leaderboard import sentences
from server.leaderboard.contenders import Entrant, Run
from server.leaderboard.duels import EqualLatency, at_equal_latency, fight
from server.leaderboard.envelope import front

Plan = Callable[..., Entrant]


def direct(a: Run, b: Run) -> RatioEstimate:
    return ratio_of_ratios(a.ratio, b.ratio)


def equal(first: Entrant, second: Entrant, base: Entrant | None, *more: Entrant) -> EqualLatency | None:
    """Compare two contenders; `more` plans belong to the front of their own family."""
    fronts = [front([e for e in (side, *more) if e.family == side.family], base) for side in (first, second)]
    return at_equal_latency(first, second, fight(first, second, direct), (fronts[0], fronts[1]))


def test_equally_fast_plans_are_compared_as_they_are(plan: Plan, base: Entrant) -> None:
    found = equal(plan("a", 0.5, 900), plan("b", 0.5, 850, family="filter"), base)
    assert found is not None
    assert (found.is_interpolated, found.verdict) == (False, "first")
    assert found.difference.value == pytest.approx(0.05)


def test_the_faster_family_stands_between_its_plans_at_the_slower_ones_latency(plan: Plan, base: Entrant) -> None:
    found = equal(plan("a", 0.6, 900), plan("b", 0.8, 915, family="filter"), base)
    assert found is not None
    # Half way from 900 at 0.6 to the base's 950 at 1: 925 at 0.8.
    assert (found.ratio, found.is_interpolated) == (0.8, True)
    assert found.difference.value == pytest.approx(0.010)
    assert [(entrant.label, share) for entrant, share in found.first.parts] == [
        ("a", pytest.approx(0.5)),
        ("base", pytest.approx(0.5)),
    ]


def test_an_interpolated_interval_comes_from_the_images_of_both_ends_and_from_the_latencies(
    plan: Plan, base: Entrant
) -> None:
    exact = equal(plan("a", 0.6, 900, width=1e-9), plan("b", 0.8, 915, family="filter", width=1e-9), base)
    rough = equal(plan("a", 0.6, 900, width=0.02), plan("b", 0.8, 915, family="filter", width=0.02), base)
    assert exact is not None
    assert rough is not None
    # Per image: 0 up to 900, -0.5 where only b is right among 900 to 915 and the base is too: 0.5 - 1; 0.5 up to 950.
    squares, total = 15 * 0.25 + 35 * 0.25, 35 * 0.5 - 15 * 0.5
    half = 1.959964 * math.sqrt(squares + 1 - total**2 / 1002) / 1002
    assert exact.difference.high - exact.difference.low == pytest.approx(2 * half, rel=1e-3)
    # The front rises by 0.05 from 0.6 to 1, an eighth per unit; a's share is one half, b's latency counts in full.
    of_latency = 0.125 * math.hypot(0.5 * 0.6 * 0.02, 0.8 * 0.02)
    wide = math.hypot(exact.difference.high - exact.difference.value, of_latency)
    assert rough.difference.high - rough.difference.value == pytest.approx(wide, rel=1e-2)


def test_where_the_fast_side_ends_the_slow_one_is_taken_there(plan: Plan, base: Entrant) -> None:
    rival = plan("net", 0.5, 880, family="handcrafted")
    found = at_equal_latency(
        plan("a", 0.8, 930),
        rival,
        fight(plan("a", 0.8, 930), rival, direct),
        (front([plan("a", 0.8, 930), plan("faster", 0.4, 890)], base), front([rival], None)),
    )
    assert found is not None
    # 890 at 0.4 and 930 at 0.8: 900 at 0.5.
    assert (found.ratio, found.difference.value) == (0.5, pytest.approx(0.02))


def test_two_lone_networks_of_different_latency_are_not_compared(plan: Plan) -> None:
    assert equal(plan("a", 0.5, 900, family="layer"), plan("b", 0.8, 950, family="filter"), None) is None


def test_a_doubtful_latency_is_not_compared(plan: Plan, base: Entrant) -> None:
    assert equal(plan("a", 0.5, 900, flags=("steal",)), plan("b", 0.8, 900, family="filter"), base) is None


def test_seeds_go_through_the_interpolation(plan: Plan, base: Entrant) -> None:
    first = plan("a", 0.6, 900, seeds=(920, 910))
    found = equal(first, plan("b", 0.8, 915, family="filter", seeds=(915, 915)), base)
    assert found is not None
    assert found.difference.seeds == 3
    assert found.difference.value == pytest.approx((910 + 950) / 2000 - 0.915)


COUNTS = st.integers(0, 1000)


@given(COUNTS, COUNTS, st.integers(30, 90), st.integers(30, 90))
def test_sides_may_be_swapped(plan: Plan, base: Entrant, a: int, b: int, fast: int, slow: int) -> None:
    first, second = plan("a", fast / 100, a), plan("b", slow / 100, b, family="filter")
    one, other = equal(first, second, base), equal(second, first, base)
    assert one is not None
    assert other is not None
    assert one.difference.value == pytest.approx(-other.difference.value, abs=1e-12)
    assert one.difference.low == pytest.approx(-other.difference.high, abs=1e-12)
    swapped = {"first": "second", "second": "first", "tied": "tied"}
    assert one.verdict == swapped[other.verdict]


@given(st.permutations(range(200)))
def test_the_order_of_the_images_does_not_matter(plan: Plan, order: list[int]) -> None:
    bits = np.random.default_rng(0).random((2, 200)) < 0.8
    found = [
        fight(plan("a", 0.5, rows[0]), plan("b", 0.5, rows[1], family="filter"), direct).difference
        for rows in (bits, bits[:, order])
    ]
    assert found[0] == found[1]


def test_the_sentence_says_between_what_it_stands(plan: Plan, base: Entrant) -> None:
    first, second = plan("5 of 9", 0.6, 900), plan("b", 0.8, 915, family="filter")
    found = equal(first, second, base)
    assert found is not None
    assert sentences.of_equal_latency(first, second, found) == (
        "Layer pruning by l1 is more accurate at 0.8 of the base's latency: the accuracy of layer pruning by l1 minus "
        "that of unaligned filter pruning by l1 is +1.0 points (95 % interval +0.3 to +1.7, 1000 test images, these "
        "trained networks); layer pruning by l1 has no plan there and stands between '5 of 9' (0.6) for 50% of the "
        "images and the base for 50% of the images."
    )


def test_a_handcrafted_network_goes_by_its_name(plan: Plan, base: Entrant) -> None:
    first, second = plan("a", 0.5, 900), plan("mobilenet_v2", 0.5, 900, family="handcrafted")
    found = equal(first, second, base)
    assert found is not None
    assert "minus that of the handcrafted mobilenet_v2 is +0.0" in sentences.of_equal_latency(first, second, found)
