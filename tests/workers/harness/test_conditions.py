"""From two snapshots to what was observed, and from that to flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workers.harness.backends.null import NullBackend
from workers.harness.conditions import Snapshot, Watch, check_threads, flags, key, observe
from workers.harness.errors import HarnessError
from workers.harness.host import CpuTimes, Host

SNAPSHOT = Snapshot(
    at_s=100.0, own_s=10.0, cpu=CpuTimes(busy_s=1000.0, steal_s=5.0), throttled=3, switches=7, stall_s=1.0
)


def after(
    *,
    seconds: float = 10.0,
    own_s: float = 10.0,
    busy_s: float = 10.0,
    steal_s: float = 0.0,
    throttled: int = 0,
    switches: int = 2,
    stall_s: float = 0.1,
) -> Snapshot:
    return Snapshot(
        at_s=100.0 + seconds,
        own_s=10.0 + own_s,
        cpu=CpuTimes(1000.0 + busy_s, 5.0 + steal_s),
        throttled=3 + throttled,
        switches=7 + switches,
        stall_s=1.0 + stall_s,
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
        (after(switches=99), []),
        (after(switches=101), ["involuntary_switches"]),
        (after(stall_s=0.49), []),
        (after(stall_s=0.6), ["pressure"]),
        (after(seconds=0.1, own_s=0.1, busy_s=0.2, switches=50, stall_s=0.1), []),
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
        "some switches",
        "switches",
        "some waiting",
        "waiting",
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
        "precision", "threads", "settings", "clock_policy", "batch_size", "input_shape",
    }  # fmt: skip
    assert found[0]["protocol"] == "ss-1"


def test_what_the_runtime_knows_of_the_hardware_replaces_what_the_host_says() -> None:
    class Card(NullBackend):
        def hardware(self) -> dict[str, Any]:
            return {"device_model": "Some GPU", "driver": "580.65"}

    policies = {"nvml": {"fixed_mhz": 1200}}
    settings = {"cuda_graph": True}
    found = key(Host(), Card(), precision="fp32", threads=1, shape=(1, 3, 8, 8), settings=settings, policies=policies)
    assert (found["device_model"], found["driver"]) == ("Some GPU", "580.65")
    assert (found["settings"], found["policies"]) == (settings, policies)


class Gauge:
    """A sensor of a GPU that somebody else uses from some reading on."""

    name = "card"

    def __init__(self, used_from: int) -> None:
        self.readings, self.used_from = 0, used_from

    def policy(self) -> dict[str, Any]:
        return {"fixed_mhz": 1200}

    def read(self) -> dict[str, Any]:
        self.readings += 1
        return {"users": int(self.readings >= self.used_from)}

    def judge(self, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
        return ["foreign_process"] if after["users"] > before["users"] else []

    def users(self) -> list[Any]:
        return []


def test_sensors_are_read_around_the_window_and_their_flags_count(tmp_path: Path) -> None:
    # Read once when the watch is made, once at the start, once at the stop.
    watch = Watch(Host(str(tmp_path), cpus=[0]), [Gauge(used_from=4)])
    watch.start()
    quiet = watch.stop()
    assert (quiet["sensors"]["before"]["card"]["users"], flags(quiet)) == (0, [])
    assert watch.policies() == {"card": {"fixed_mhz": 1200}}
    watch = Watch(Host(str(tmp_path), cpus=[0]), [Gauge(used_from=3)])
    watch.start()
    assert flags(watch.stop()) == ["foreign_process"]


def test_alarming_lines_of_the_kernel_log_are_a_flag(tmp_path: Path) -> None:
    log = tmp_path / "dev" / "kmsg"
    log.parent.mkdir()
    log.write_text("4,1,1,-;NVRM: Xid (PCI:0000:01:00): 79, long ago\n")
    watch = Watch(Host(str(tmp_path), cpus=[0]), [])
    watch.start()
    with log.open("a") as file:
        file.write("6,2,2,-;usb 1-1: new device\n4,3,3,-;CPU0: Core temperature above threshold, cpu clock throttled\n")
        file.write(" SUBSYSTEM=cpu\n")
    seen = watch.stop()
    assert seen["kernel_log"] == ["CPU0: Core temperature above threshold, cpu clock throttled"]
    assert flags(seen) == ["kernel_log"]


def test_a_kernel_log_that_may_not_be_read_is_no_flag(tmp_path: Path) -> None:
    watch = Watch(Host(str(tmp_path), cpus=[0]), [])
    watch.start()
    seen = watch.stop()
    assert seen["kernel_log"] is None
    assert flags(seen) == []


def test_more_threads_than_processors_are_refused_with_the_limit_and_its_origin() -> None:
    with pytest.raises(HarnessError, match="3 threads .* only 2 .* because of the 2 processors") as caught:
        check_threads(Host("/nonexistent", cpus=[0, 1]), 3)
    assert caught.value.value == 3
    assert "at most 2 threads" in caught.value.remedy
