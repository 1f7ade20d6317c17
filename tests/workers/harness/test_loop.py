"""The loop: what is steady, in which order, how many runs, and what a sample is."""

from __future__ import annotations

import gc
from collections import Counter

import numpy as np
import pytest

from workers.harness.errors import HarnessError
from workers.harness.loop import (
    Pace,
    Plan,
    choose_pace,
    is_steady,
    mirrored_orders,
    time_block,
    time_interleaved,
    warm_up,
)


class Clockwork:
    """A session on a clock of its own: the n-th run takes the n-th of the given times, and the last one ever after.

    Its device, where it knows one, takes all but one nanosecond of that; asking for it takes a second.
    """

    def __init__(self, *times_ns: int, parts: tuple[str, ...] = ()) -> None:
        self.now = 0
        self.runs = 0
        self.parts = parts
        self.facts: dict[str, object] = {}
        self._times = times_ns

    def clock(self) -> int:
        return self.now

    def run(self) -> None:
        self.now += self._times[min(self.runs, len(self._times) - 1)]
        self.runs += 1

    def parts_ns(self) -> tuple[int, ...]:
        self.now += 1_000_000_000
        return (self._times[min(self.runs, len(self._times)) - 1] - 1,)

    def infer(self, batch: np.ndarray) -> np.ndarray:
        return batch

    def close(self) -> None:
        return


def test_warm_up_lasts_at_least_its_time() -> None:
    found = warm_up(session := Clockwork(10_000_000), session.clock, Plan())
    assert (found.runs, found.seconds, found.steady, found.typical_ns) == (100, 1.0, True, 10_000_000)


def test_warm_up_does_at_least_its_runs() -> None:
    # 50 runs are wanted and 1 s is long over; windows of 20 end at 60.
    session = Clockwork(100_000_000)
    assert warm_up(session, session.clock, Plan()).runs == 60


def test_warm_up_goes_on_until_the_times_settle() -> None:
    # 150 runs that get faster and faster, then steady ones: the first two alike windows of 20 end at 200.
    session = Clockwork(*[30_000_000 - 100_000 * i for i in range(150)], 10_000_000)
    found = warm_up(session, session.clock, Plan())
    assert found.steady
    assert found.runs == 200


def test_warm_up_gives_up_at_its_cap() -> None:
    session = Clockwork(*[1_000_000 * (1 + i) for i in range(200)])
    found = warm_up(session, session.clock, Plan(warmup_cap_s=5.0))
    assert not found.steady
    assert 5.0 <= found.seconds < 5.2


@pytest.mark.parametrize(
    ("second", "steady"),
    [
        ([100, 102, 98, 101, 99] * 4, True),
        ([500] + [102, 98, 101, 99, 100] * 3 + [102, 98, 101, 99], True),
        ([101, 103, 99, 102, 100] * 4, True),
        ([97, 99, 95, 98, 96] * 4, False),
        ([80, 82, 78, 81, 79] * 4, False),
        ([100] * 10 + [85] * 10, False),
    ],
    ids=["alike", "one outlier", "1 % slower", "3 % faster", "much faster", "half of the runs faster"],
)
def test_windows_are_compared_by_median_and_lower_quartile(second: list[int], steady: bool) -> None:
    assert is_steady([100, 102, 98, 101, 99] * 4, second) is steady


def test_a_window_lasts_fifty_milliseconds() -> None:
    # 0.1 ms a run: windows end every 500 runs, and the second ends after the least time of 0.1 s.
    session = Clockwork(100_000)
    assert warm_up(session, session.clock, Plan(warmup_min_s=0.1)).runs == 1000


def test_a_later_session_warms_up_for_less() -> None:
    session = Clockwork(1_000_000)
    plan = Plan(warmup_min_s=1.0, warmup_later_min_s=0.2)
    assert warm_up(session, session.clock, plan, is_first=False).seconds == 0.2


def test_each_cycle_is_a_random_order_and_its_mirror() -> None:
    visits = list(mirrored_orders(["a", "b", "c"], cycles=20, seed=1))
    orders = [[name for cycle, _, name in visits if cycle == c] for c in range(20)]
    assert all(order == order[::-1] and sorted(order) == ["a", "a", "b", "b", "c", "c"] for order in orders)
    assert [position for _, position, _ in visits] == list(range(6)) * 20
    firsts = Counter(order[0] for order in orders)
    assert set(firsts) == {"a", "b", "c"}


def test_the_seed_decides_the_order() -> None:
    orders = [list(mirrored_orders("abcdef", cycles=5, seed=seed)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize(
    ("typical_ns", "pace"),
    [(1_000_000, Pace(50, 1)), (60_000, Pace(833, 1)), (10_000, Pace(1000, 5)), (200_000_000, Pace(3, 1))],
    ids=["a millisecond", "short", "too short to time alone", "long"],
)
def test_a_block_lasts_about_fifty_milliseconds(typical_ns: float, pace: Pace) -> None:
    assert choose_pace(typical_ns, Plan()) == pace


def test_a_sample_is_one_inference() -> None:
    session = Clockwork(7, 8, 9)
    assert time_block(session.run, session.clock, Pace(4, 1)).tolist() == [7, 8, 9, 9]


def test_a_grouped_sample_is_the_mean_of_its_inferences() -> None:
    session = Clockwork(10, 20, 33, 39)
    assert time_block(session.run, session.clock, Pace(2, 2)).tolist() == [15, 36]
    assert session.runs == 4


def test_parts_are_asked_for_after_each_sample_and_outside_of_it() -> None:
    session = Clockwork(7, 8, 9, parts=("device",))
    blocks = time_interleaved(
        {"only": session}, {"only": Pace(2, 1)}, session.clock, cycles=1, seed=0, between_cycles=lambda _: None
    )
    assert [block.samples_ns.tolist() for block in blocks] == [[7, 8], [9, 9]]
    assert [block.parts_ns.tolist() for block in blocks] == [[[6], [7]], [[8], [8]]]


def test_a_session_without_parts_has_none() -> None:
    session = Clockwork(7)
    (first, _) = time_interleaved(
        {"only": session}, {"only": Pace(3, 1)}, session.clock, cycles=1, seed=0, between_cycles=lambda _: None
    )
    assert first.parts_ns.size == 0


def test_a_clock_that_goes_backwards_is_refused() -> None:
    session = Clockwork(7, -3, 7)
    with pytest.raises(HarnessError, match="the clock went backwards by 3 ns") as caught:
        time_block(session.run, session.clock, Pace(3, 1))
    assert caught.value.code == "infra"


def test_interleaving_keeps_sessions_apart_and_reports_between_cycles() -> None:
    fast, slow = Clockwork(5), Clockwork(9)
    said: list[int] = []
    blocks = time_interleaved(
        {"fast": fast, "slow": slow},
        {"fast": Pace(3, 1), "slow": Pace(2, 1)},
        lambda: fast.now + slow.now,
        cycles=4,
        seed=0,
        between_cycles=said.append,
    )
    assert len(blocks) == 16
    assert {(block.session, *block.samples_ns.tolist()) for block in blocks} == {("fast", 5, 5, 5), ("slow", 9, 9)}
    assert said == [1, 2, 3]


def test_no_garbage_is_collected_while_timing() -> None:
    seen = []
    session = Clockwork(5)
    times = time_interleaved(
        {"only": session},
        {"only": Pace(1, 1)},
        session.clock,
        cycles=2,
        seed=0,
        between_cycles=lambda _: seen.append(gc.isenabled()),
    )
    assert times
    assert seen == [False]
    assert gc.isenabled()
