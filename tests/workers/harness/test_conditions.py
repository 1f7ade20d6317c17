"""From two snapshots to what was observed, and from that to flags."""

from __future__ import annotations

import pytest

from workers.harness.backends.null import NullBackend
from workers.harness.conditions import Snapshot, check_threads, flags, key, observe
from workers.harness.errors import HarnessError
from workers.harness.host import CpuTimes, Host

SNAPSHOT = Snapshot(at_s=100.0, own_s=10.0, cpu=CpuTimes(busy_s=1000.0, steal_s=5.0), throttled=3, switches=7)


def after(
    *, seconds: float = 10.0, own_s: float = 10.0, busy_s: float = 10.0, steal_s: float = 0.0, throttled: int = 0
) -> Snapshot:
    return Snapshot(
        100.0 + seconds, 10.0 + own_s, CpuTimes(1000.0 + busy_s, 5.0 + steal_s), throttled=3 + throttled, switches=9
    )


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        (after(), []),
        (after(busy_s=10.9), []),
        (after(busy_s=11.5), ["foreign_load"]),
        (after(own_s=9.99, busy_s=9.5), []),
        (after(steal_s=0.05), []),
        (after(steal_s=0.2), ["steal"]),
        (after(throttled=1), ["cgroup_throttled"]),
        (after(busy_s=20.0, steal_s=1.0, throttled=2), ["cgroup_throttled", "steal", "foreign_load"]),
        (after(seconds=0.1, own_s=0.1, busy_s=0.2), []),
    ],
    ids=[
        "quiet",
        "a little company",
        "company",
        "own time counted coarsely",
        "a little steal",
        "steal",
        "throttled",
        "all",
        "too short to say",
    ],
)
def test_flags_follow_from_the_counters(later: Snapshot, expected: list[str]) -> None:
    assert flags(observe(Host(cpus=[0, 1]), SNAPSHOT, later)) == expected


def test_on_a_large_machine_a_hundredth_of_its_processors_is_let_pass() -> None:
    assert flags(observe(Host(cpus=range(64)), SNAPSHOT, after(busy_s=16.0))) == []
    assert flags(observe(Host(cpus=range(64)), SNAPSHOT, after(busy_s=17.0))) == ["foreign_load"]


def test_a_machine_that_tells_nothing_gets_no_flags() -> None:
    blind = Snapshot(at_s=0.0, own_s=0.0, cpu=None, throttled=None, switches=0)
    assert flags(observe(Host(cpus=[0]), blind, blind)) == []


def test_the_key_holds_what_must_be_equal_and_nothing_that_changes() -> None:
    found = [key(Host(), NullBackend(), precision="fp32", threads=1, shape=(1, 3, 8, 8)) for _ in range(2)]
    assert found[0] == found[1]
    assert set(found[0]) == {
        "protocol", "device_model", "cpus", "architecture", "os", "runtime", "runtime_version", "runtime_flags",
        "precision", "threads", "clock_policy", "batch_size", "input_shape",
    }  # fmt: skip
    assert found[0]["protocol"] == "ss-1"


def test_more_threads_than_processors_are_refused_with_the_limit_and_its_origin() -> None:
    with pytest.raises(HarnessError, match="3 threads .* only 2 .* because of the 2 processors") as caught:
        check_threads(Host("/nonexistent", cpus=[0, 1]), 3)
    assert caught.value.value == 3
    assert "at most 2 threads" in caught.value.remedy
