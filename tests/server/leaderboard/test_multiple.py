"""A whole leaderboard, and a whole comparison, of things that do not differ: how often is anything called different?"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from layerprune.stats import LOOK_ALPHA, RatioEstimate, student_quantile, wilson
from server.leaderboard.duels import Duel, fight, hold
from server.leaderboard.front import Point, versus_base

BOARDS, GROUPS, PER_GROUP = 1000, 4, 5
EQUAL = RatioEstimate(1.0, 0.999, 1.001, 1.0, 5)


def board(
    rng: np.random.Generator, *, units: int = 16, alpha: float = 0.05, levels: tuple[float, ...] = ()
) -> list[Point]:
    """Twenty variants in four groups, each group with its own base; of the base's latency unless `levels` says so.

    Each is timed in `units` cycles of one process or processes, whose levels differ by 2 %, with Student's interval.
    """
    points: list[Point] = []
    for _ in range(GROUPS):
        base = rng.normal(0, 0.02, units)
        for _ in range(PER_GROUP):
            level = levels[len(points)] if len(points) < len(levels) else 1.0
            logs = np.log(level) + rng.normal(0, 0.02, units) - base
            centre = float(logs.mean())
            half = student_quantile(units - 1, alpha) * float(logs.std(ddof=1)) / math.sqrt(units)
            low, value, high = np.exp([centre - half, centre, centre + half]).tolist()
            ratio = RatioEstimate(value, low, high, value, units, low, high, units - 1)
            points.append(Point(len(points), 1e6, ratio, 90, 100))
    return points


def share_of_boards_with_a_difference(seed: int, **how: Any) -> tuple[float, float, float]:
    """Of boards of equals those that call anything different, with the interval of that share."""
    rng = np.random.default_rng(seed)
    return wilson(sum(set(versus_base(board(rng, **how)).values()) != {"tied"} for _ in range(BOARDS)), BOARDS)


def test_over_a_whole_leaderboard_of_equals_five_in_a_hundred_call_anything_different() -> None:
    rate, low, high = share_of_boards_with_a_difference(1)
    assert low <= 0.05 <= high, rate


def test_with_several_processes_it_is_no_more_than_five_in_a_hundred() -> None:
    # Their intervals are drawn at a stricter level, because measuring stops by their width.
    rate, low, _ = share_of_boards_with_a_difference(1, units=8, alpha=LOOK_ALPHA)
    assert rate > 0.01
    assert low <= 0.05, rate


def test_what_really_differs_is_found_among_twenty() -> None:
    rng = np.random.default_rng(2)
    found = versus_base(board(rng, levels=(0.8, 1.25)))
    assert (found[0], found[1]) == ("faster", "slower")


def test_a_certain_difference_within_the_noise_floor_is_a_tie() -> None:
    sure = RatioEstimate(0.98, 0.979, 0.981, 0.98, 8, 0.979, 0.981, 7)
    (loose,) = versus_base([Point(0, 1e6, sure, 90, 100, least_effect=0.01)]).values()
    (tied,) = versus_base([Point(0, 1e6, sure, 90, 100, least_effect=0.03)]).values()
    assert (loose, tied) == ("faster", "tied")


def duels(rng: np.random.Generator, plan: Any, number: int) -> list[Duel]:
    """Duels of different networks that are equally accurate: each is right about a random 900 of 1000 images."""

    def network(name: str) -> Any:
        return plan(name, 0.7, rng.random(1000) < 0.9, family="layer")

    return [fight(network(f"a{i}"), network(f"b{i}"), lambda *_: EQUAL) for i in range(number)]


def test_over_a_whole_comparison_of_equals_five_in_a_hundred_call_anything_different(plan: Any) -> None:
    rng = np.random.default_rng(3)
    comparisons, wrong = 600, 0
    for _ in range(comparisons):
        held = hold([(duel, None) for duel in duels(rng, plan, 12)])
        wrong += any(duel.verdict != "tied" for duel, _ in held)
    rate, low, high = wilson(wrong, comparisons)
    assert low <= 0.05 <= high, rate


def test_a_difference_that_is_shown_alone_may_be_chance_among_others(plan: Any) -> None:
    # 3 points of 1000 images, all of them against the second: p is about 0.01.
    near = fight(plan("a", 0.7, 909), plan("b", 0.7, 900, family="filter"), lambda *_: EQUAL)
    assert near.verdict == "first"
    others = duels(np.random.default_rng(4), plan, 20)
    (alone,) = hold([(near, None)])
    assert alone[0].verdict == "first"
    held, *_ = hold([(near, None), *((duel, None) for duel in others)])
    assert (held[0].verdict, held[0].among) == ("tied", 21)
    # The interval stays what it is; the verdict alone is held.
    assert held[0].difference == near.difference


def test_the_same_comparison_at_two_targets_counts_once(plan: Any) -> None:
    duel = fight(plan("a", 0.7, 909), plan("b", 0.7, 900, family="filter"), lambda *_: EQUAL)
    assert {held.among for held, _ in hold([(duel, None), (duel, None)])} == {1}


def test_a_duel_in_doubt_takes_no_share_of_the_risk(plan: Any) -> None:
    duel = fight(plan("a", 0.7, 909), plan("b", 0.7, 900, family="filter"), lambda *_: EQUAL)
    doubtful = replace(duel, pair=("c", "d"), doubts=("steal",), verdict="not_comparable")
    held = hold([(duel, None), (doubtful, None)])
    assert held[0][0].among == 1
    assert held[1][0].verdict == "not_comparable"


@pytest.mark.parametrize(("low", "verdict"), [(0.979, "first_faster"), (0.995, "not_comparable")])
def test_latencies_within_the_noise_floor_do_not_differ(plan: Any, low: float, verdict: str) -> None:
    first, second = plan("a", 0.7, 900), plan("b", 0.72, 900, family="filter")
    latency = RatioEstimate(low * 0.96, low * 0.955, low * 0.965, low * 0.96, 5)
    assert fight(first, second, lambda *_: latency, least_effect=0.05).verdict == verdict
