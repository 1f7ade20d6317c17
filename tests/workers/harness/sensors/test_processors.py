"""Processors: throttle counters, clocks, temperatures, and whether they are real."""

from __future__ import annotations

import platform
from typing import Any

import pytest

from workers.harness.files import Files
from workers.harness.sensors import device_kind, facts, find_sensors
from workers.harness.sensors.emulation import emulated_on
from workers.harness.sensors.thermal import ProcessorSensor

CPU = "/sys/devices/system/cpu/cpu%d/"
CORE, PACKAGE = (f"{CPU}thermal_throttle/{part}_throttle_count" for part in ("core", "package"))
FREE = {CPU % n + "cpufreq/" + name: khz for n in (0, 1) for name, khz in
        (("scaling_min_freq", "800000"), ("scaling_max_freq", "3600000"), ("scaling_cur_freq", "3400000"))}  # fmt: skip
FIXED = {**FREE, **{CPU % n + "cpufreq/scaling_min_freq": "3600000" for n in (0, 1)}}


def sensor(root: str) -> ProcessorSensor:
    return ProcessorSensor(Files(root), [0, 1])


@pytest.mark.parametrize("counter", [CORE % 1, PACKAGE % 0], ids=["core", "package"])
def test_a_throttle_counter_that_rises_is_flagged(tree: Any, counter: str) -> None:
    quiet = {CORE % 0: "3", CORE % 1: "4", PACKAGE % 0: "9", PACKAGE % 1: "9"}
    found = sensor(tree(quiet))
    before = found.read()
    assert before["throttle_events"] == {"core": 7, "package": 18}
    assert found.judge(before, found.read()) == []
    tree({counter: "10"})
    assert found.judge(before, found.read()) == ["throttled"]


def test_fixed_clocks_that_are_not_reached_are_flagged(tree: Any) -> None:
    found = sensor(tree(FIXED))
    assert found.policy() == {"fixed_mhz": 3600}
    assert found.judge({}, {"mhz": [3550, 3590]}) == []
    assert found.judge({}, {"mhz": [3000, 3100]}) == ["clock_drop"]


def test_free_clocks_are_only_noted(tree: Any) -> None:
    found = sensor(tree(FREE))
    assert found.policy() == {}
    assert found.read()["mhz"] == [3400, 3400]
    assert found.judge(found.read(), {"mhz": [800, 900]}) == []


def test_a_machine_that_tells_nothing_has_no_readings(tree: Any) -> None:
    found = sensor(tree({}))
    assert (found.policy(), found.read(), found.judge({}, {}), found.users()) == ({}, {}, [], [])


def test_an_unreadable_or_strange_file_is_left_out(tree: Any) -> None:
    root = tree({"/sys/class/thermal/thermal_zone0/type": "x86_pkg_temp", "/sys/class/thermal/thermal_zone0/temp": "?"})
    assert sensor(root).read() == {}


X86_FILE = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nbogomips\t: 5000.00"
ARM_FILE = "processor\t: 0\nBogoMIPS\t: 62.50\nCPU implementer\t: 0x41\nCPU architecture: 8"


@pytest.mark.parametrize(
    ("files", "machine", "real"),
    [
        ({"/proc/sys/kernel/arch": "x86_64"}, "x86_64", None),
        ({"/proc/sys/kernel/arch": "x86_64"}, "i686", None),
        ({"/proc/sys/kernel/arch": "aarch64"}, "armv8l", None),
        ({"/proc/sys/kernel/arch": "x86_64"}, "aarch64", "x86_64"),
        ({"/proc/sys/kernel/arch": "aarch64"}, "x86_64", "aarch64"),
        ({"/proc/cpuinfo": X86_FILE}, "aarch64", "x86_64"),
        ({"/proc/cpuinfo": ARM_FILE}, "aarch64", None),
        ({"/proc/cpuinfo": X86_FILE}, "x86_64", None),
        ({}, "aarch64", None),
        ({"/proc/sys/kernel/arch": "x86_64"}, "unheard-of", None),
    ],
)
def test_an_emulated_processor_is_found_out(tree: Any, files: dict[str, str], machine: str, real: str | None) -> None:
    assert emulated_on(Files(tree(files)), machine=machine) == real


def test_an_emulated_machine_says_so_in_its_facts(tree: Any) -> None:
    other = "x86_64" if platform.machine() == "aarch64" else "aarch64"
    assert facts(tree({"/proc/sys/kernel/arch": other})) == {"kind": "cpu", "emulated": other, "policies": {}}
    assert "emulated" not in facts(tree({"/proc/sys/kernel/arch": platform.machine()}))


def test_a_gpu_is_known_by_its_driver(tree: Any) -> None:
    assert device_kind(tree({})) == "cpu"
    assert device_kind(tree({"/proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t NVIDIA L4"})) == "gpu"


def test_this_machine_can_be_read() -> None:
    for found in find_sensors():
        assert found.judge(found.read(), found.read()) == found.judge({}, found.read())
        assert isinstance(found.policy(), dict)
