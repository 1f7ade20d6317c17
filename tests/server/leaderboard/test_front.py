"""The accuracy-latency front, against its definition."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from layerprune.stats import RatioEstimate
from server.leaderboard.front import Point, front


def point(
    row_id: int, p50_ns: float, correct: int, *, n: int = 1000, spread: float = 0.0, least_effect: float = 0.0
) -> Point:
    """A row with half the base's latency, whose interval is `spread` wide to either side."""
    ratio = RatioEstimate(0.5, 0.5 * math.exp(-spread), 0.5 * math.exp(spread), 0.5, 1)
    return Point(row_id, p50_ns, ratio, correct, n, least_effect)


def test_no_rows_have_an_empty_front() -> None:
    assert front([]).on == frozenset()


def test_the_faster_and_the_more_accurate_share_the_front() -> None:
    found = front([point(1, 100, 900), point(2, 50, 800), point(3, 120, 700)])
    assert found.on == {1, 2}
    assert found.tied == frozenset()


def test_a_row_beaten_within_the_intervals_is_tied() -> None:
    # 1 % slower with intervals of 2 %, and one answer of a thousand worse: both may be chance.
    found = front([point(1, 100, 900, spread=0.02), point(2, 101, 899, spread=0.02)])
    assert (found.on, found.tied) == ({1}, {2})


def test_a_row_that_is_surely_slower_is_not_tied() -> None:
    assert front([point(1, 100, 900, spread=0.02), point(2, 110, 900, spread=0.02)]).tied == frozenset()


def test_a_slower_row_is_tied_within_the_noise_floor() -> None:
    near = [point(1, 100, 900, least_effect=0.03), point(2, 102, 900, least_effect=0.03)]
    assert front(near).tied == {2}
    assert front([near[0], point(2, 104, 900, least_effect=0.03)]).tied == frozenset()


def test_what_two_rows_show_may_be_chance_among_many() -> None:
    # Intervals of 4 % to either side, 10 % apart: clear for two rows, not among two hundred.
    two = [point(1, 100, 900, spread=0.037), point(2, 110, 900, spread=0.037)]
    assert front(two).tied == frozenset()
    others = [point(i, 200, 100 + i, spread=0.01) for i in range(3, 201)]
    assert 2 in front([*two, *others]).tied


def test_a_row_that_is_surely_less_accurate_is_not_tied() -> None:
    assert front([point(1, 100, 900, spread=0.02), point(2, 101, 800, spread=0.02)]).tied == frozenset()


POINTS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 20), st.floats(0, 0.3)), max_size=25).map(
    lambda rows: [point(i, p50, correct, n=20, spread=spread) for i, (p50, correct, spread) in enumerate(rows)]
)


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points: list[Point]) -> None:
    def dominates(a: Point, b: Point) -> bool:
        no_worse = a.p50_ns <= b.p50_ns and a.correct >= b.correct
        return no_worse and (a.p50_ns < b.p50_ns or a.correct > b.correct)

    found = front(points)
    assert found.on == {b.row_id for b in points if not any(dominates(a, b) for a in points)}
    assert not found.on & found.tied


@given(POINTS)
def test_without_uncertain_latencies_nothing_slower_is_tied(points: list[Point]) -> None:
    sharp = [point(p.row_id, p.p50_ns, p.correct, n=p.n) for p in points]
    found = front(sharp)
    for b in sharp:
        if any(a.p50_ns < b.p50_ns and a.correct >= b.correct for a in sharp):
            assert b.row_id not in found.tied
