"""What stands for a family at a latency, in numbers that can be checked by hand."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.leaderboard.contenders import Entrant
from server.leaderboard.envelope import front, staircase

Plan = Callable[..., Entrant]


def test_a_front_leaves_out_what_a_mixture_of_others_beats(plan: Plan, base: Entrant) -> None:
    # Between 900 at 0.5 and 950 at 1 a mixture has 920 at 0.7.
    found = front([plan("fast", 0.5, 900), plan("poor", 0.7, 919), plan("good", 0.8, 935)], base)
    assert [vertex.label for vertex in found.vertices] == ["fast", "good", "base"]


def test_between_two_plans_it_stands_in_proportion(plan: Plan, base: Entrant) -> None:
    stand = front([plan("fast", 0.5, 900)], base).at(0.6)
    assert stand is not None
    assert {entrant.label: share for entrant, share in stand.parts} == {
        "fast": pytest.approx(0.8),
        "base": pytest.approx(0.2),
    }
    assert stand.ratio == pytest.approx(0.6)


def test_at_a_plans_own_latency_it_stands_alone(plan: Plan, base: Entrant) -> None:
    stand = front([plan("fast", 0.5, 900)], base).at(0.5)
    assert stand is not None
    assert not stand.is_interpolated


def test_faster_than_its_fastest_plan_it_has_nothing(plan: Plan, base: Entrant) -> None:
    assert front([plan("fast", 0.5, 900)], base).at(0.49) is None


def test_a_faster_plan_that_beats_the_slower_ones_stands_for_them(plan: Plan, base: Entrant) -> None:
    stand = front([plan("fast", 0.5, 960)], base).at(0.7)
    assert stand is not None
    assert [(entrant.label, share) for entrant, share in stand.parts] == [("fast", 1.0)]


def test_handcrafted_networks_do_not_reach_beyond_their_slowest(plan: Plan) -> None:
    found = front([plan("small", 0.5, 900), plan("large", 0.7, 920)], None)
    assert found.at(0.6) is not None
    assert found.at(0.71) is None


def test_doubtful_plans_bear_no_front(plan: Plan, base: Entrant) -> None:
    assert front([plan("noisy", 0.5, 940, flags=("steal",))], base).at(0.6) is None


def test_validation_draws_the_front_not_the_test(plan: Plan, base: Entrant) -> None:
    lucky = plan("lucky on test", 0.6, 990, validation=800)
    assert [v.label for v in front([lucky, plan("fast", 0.5, 900)], base).vertices] == ["fast", "base"]


POINTS = st.lists(
    st.tuples(st.integers(20, 99), st.integers(0, 1000)), min_size=1, max_size=8, unique_by=lambda p: p[0]
)


@given(POINTS, st.floats(0.2, 1.0))
def test_no_plan_or_mixture_is_above_the_front(plan: Plan, points: list[tuple[int, int]], ratio: float) -> None:
    plans = [plan(f"{percent}", percent / 100, correct, images=1000) for percent, correct in points]
    base = plan("base", 1.0, 500, family="base")
    stand = front(plans, base).at(ratio)
    everything = [*plans, base]
    usable = [p for p in everything if p.typical.ratio.value <= ratio]
    if stand is None:
        assert not usable
        return
    value = sum(share * entrant.validation for entrant, share in stand.parts)
    assert sum(share for _, share in stand.parts) == pytest.approx(1)
    assert stand.ratio <= ratio + 1e-9
    for fast in usable:
        for slow in everything:
            a, b = fast.typical.ratio.value, slow.typical.ratio.value
            share = 0.0 if b <= ratio else (ratio - a) / (b - a)
            assert value >= (1 - share) * fast.validation + share * slow.validation - 1e-9


@given(POINTS, st.randoms())
def test_the_order_of_the_plans_does_not_matter(plan: Plan, points: list[tuple[int, int]], random: Random) -> None:
    plans = [plan(f"{percent}", percent / 100, correct) for percent, correct in points]
    shuffled = list(plans)
    random.shuffle(shuffled)
    assert staircase(plans) == staircase(shuffled)
    assert front(plans, None).vertices == front(shuffled, None).vertices
