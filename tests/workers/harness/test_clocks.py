"""Clocks that disagree about how long the timing took."""

from __future__ import annotations

import pytest

from workers.harness.clocks import Clocks, observe_clocks

S = 1_000_000_000


@pytest.mark.parametrize(
    ("after", "jumped"),
    [
        (Clocks(10 * S, 10 * S, 10 * S), False),
        (Clocks(10 * S + 4_000_000, 10 * S, 10 * S + 4_000_000), False),
        (Clocks(10 * S + 50_000_000, 10 * S, 10 * S + 50_000_000), True),
        (Clocks(10 * S, 10 * S + 50_000_000, 10 * S), True),
        (Clocks(10 * S, 10 * S, 70 * S), True),
        (Clocks(-1, 10 * S, 10 * S), True),
        (Clocks(10 * S, None, None), False),
    ],
    ids=["agree", "slewed by a time server", "fast", "slow", "suspended", "backwards", "one clock only"],
)
def test_what_clocks_may_differ_by(after: Clocks, jumped: bool) -> None:
    assert (
        observe_clocks(Clocks(0, 0, 0) if after.raw is not None else Clocks(0, None, None), after)["jumped"] is jumped
    )


def test_it_says_by_how_much() -> None:
    seen = observe_clocks(Clocks(0, 0, 0), Clocks(10 * S, 9 * S, 70 * S))
    assert (seen["adjusted_s"], seen["suspended_s"]) == (1.0, 60.0)


def test_a_short_window_is_not_judged_by_what_reading_three_clocks_takes() -> None:
    assert not observe_clocks(Clocks(0, 0, 0), Clocks(1_000_000, 1_200_000, 1_300_000))["jumped"]


def test_the_clocks_of_this_machine_agree() -> None:
    before = Clocks.read()
    assert before.raw is not None
    sum(range(200_000))
    assert not observe_clocks(before, Clocks.read())["jumped"]
