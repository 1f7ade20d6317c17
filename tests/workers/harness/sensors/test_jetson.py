"""Boards as their files tell them, from trees that were written from documentation."""

from __future__ import annotations

from typing import Any

import pytest

from workers.harness.files import Files
from workers.harness.sensors import check_free, device_kind, facts, find_sensors
from workers.harness.sensors.jetson import NVMAP, JetsonSensor

OC3 = "/sys/class/hwmon/hwmon5/oc3_event_cnt"


def sensor(root: str, cpus: int = 4) -> JetsonSensor:
    return JetsonSensor(Files(root), range(cpus), pause=lambda _: None)


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        (
            "orin_nano",
            {"power_mode": "25W", "jetson_clocks": False, "chip": "tegra234", "l4t": "36.4.3", "jetpack": "6.2"},
        ),
        (
            "agx_orin",
            {"power_mode": "MAXN", "jetson_clocks": True, "chip": "tegra234", "l4t": "35.6.0", "jetpack": "5.1"},
        ),
        (
            "xavier",
            {
                "power_mode": "MODE_30W_ALL",
                "jetson_clocks": False,
                "chip": "tegra194",
                "l4t": "35.6.0",
                "jetpack": "5.1",
            },
        ),
        (
            "thor",
            {"power_mode": "MAXN", "jetson_clocks": False, "chip": "tegra264", "l4t": "38.2.0", "jetpack": "7.0"},
        ),
    ],
)
def test_what_must_be_equal_to_compare(board: Any, name: str, policy: dict[str, Any]) -> None:
    assert sensor(board(name)).policy() == policy


@pytest.mark.parametrize(
    ("name", "rails"),
    [
        ("orin_nano", {"VDD_IN": 6000.0, "VDD_CPU_GPU_CV": 1500.0, "VDD_SOC": 1400.0}),
        ("agx_orin", {"VDD_GPU_SOC": 3971.2, "VDD_CPU_CV": 992.8, "VIN_SYS_5V0": 3974.4, "VDDQ_VDD2_1V8AO": 993.6}),
        ("xavier", {"GPU": 950.0, "CPU": 760.0, "SOC": 2090.0, "CV": 0.0, "VDDRQ": 380.0, "SYS5V": 1960.0}),
        ("thor", {"VDD_GPU": 2400.0, "VDD_CPU_SOC_MSS": 6480.0, "VIN_SYS_5V0": 6500.0, "VIN": 23100.0}),
    ],
)
def test_rails_without_the_unconnected_and_the_sum_of_shunt_voltages(
    board: Any, name: str, rails: dict[str, float]
) -> None:
    assert sensor(board(name)).read()["rails_mw"] == rails


def test_temperatures_without_the_parts_that_are_switched_off(board: Any) -> None:
    assert sensor(board("orin_nano")).read()["temperatures_c"] == {
        "cpu-thermal": 48.5,
        "gpu-thermal": 47.0,
        "tj-thermal": 48.5,
    }
    assert "gpu-thermal" not in sensor(board("thor")).read()["temperatures_c"]


def test_clocks_are_those_that_the_hardware_measured_if_it_says_so(board: Any) -> None:
    free = sensor(board("orin_nano"), 2).read()
    assert (free["cpu_mhz"], free["cpu_mhz_from"], free["gpu_mhz"]) == ([1344, 1344], "scaling_cur_freq", 612)


def test_measured_clocks_win_over_wished_ones(board: Any) -> None:
    measured = sensor(board("thor"), 2).read()
    assert (measured["cpu_mhz"], measured["cpu_mhz_from"], measured["gpu_mhz"]) == (
        [2595, 2595],
        "cpuinfo_cur_freq",
        1575,
    )


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({}, []),
        ({OC3: "8"}, ["throttled"]),
        ({"/sys/class/thermal/cooling_device1/cur_state": "2"}, ["throttled"]),
        ({"/sys/class/thermal/cooling_device0/cur_state": "3"}, []),
        ({"/sys/class/devfreq/17000000.ga10b/cur_freq": "900000000"}, ["clock_drop"]),
        ({f"/sys/devices/system/cpu/cpu{n}/cpufreq/cpuinfo_cur_freq": "649000" for n in range(4)}, ["clock_drop"]),
        ({"/sys/class/devfreq/17000000.ga10b/min_freq": "306000000"}, ["clocks_unlocked"]),
    ],
    ids=["quiet", "over-current", "cooling", "fan", "gpu slower than fixed", "cpu slower than fixed", "free"],
)
def test_flags_follow_from_two_readings(board: Any, changes: dict[str, str | None], flags: list[str]) -> None:
    before = sensor(board("agx_orin")).read()
    changed = sensor(board("agx_orin", changes))
    assert changed.judge(before, changed.read()) == flags


def test_events_before_the_timing_do_not_count(board: Any) -> None:
    found = sensor(board("agx_orin"))
    assert found.read()["over_current_events"] == {"oc1": 0, "oc2": 12, "oc3": 7}
    assert "throttled" not in found.judge(found.read(), found.read())


def test_a_busy_gpu_is_refused_with_its_users(board: Any) -> None:
    clients = "CLIENT PROCESS PID SIZE\nuser        trtexec     4711    204800K\ntotal                      204800K\n"
    root = board("orin_nano", {"/sys/class/devfreq/17000000.gpu/device/load": "870", NVMAP: clients})
    with pytest.raises(Exception, match=r"somebody else computes on this device: trtexec \(process 4711\)") as caught:
        check_free([sensor(root)])
    assert getattr(caught.value, "code", None) == "infra"


def test_a_busy_gpu_is_refused_also_if_only_root_may_name_its_users(board: Any) -> None:
    root = board("orin_nano", {"/sys/class/devfreq/17000000.gpu/device/load": "870"})
    with pytest.raises(Exception, match="a process that only root may name"):
        check_free([sensor(root)])


@pytest.mark.parametrize("name", ["orin_nano", "agx_orin", "xavier", "thor"])
def test_an_idle_board_is_free(board: Any, name: str) -> None:
    check_free([sensor(board(name))])


@pytest.mark.parametrize("name", ["orin_nano", "agx_orin", "xavier", "thor"])
def test_a_board_is_found_as_one(board: Any, name: str) -> None:
    root = board(name)
    assert device_kind(root) == "jetson"
    assert [one.name for one in find_sensors(root)] == ["jetson"]
    found = facts(root)
    assert (found["kind"], found["l4t"]) == ("jetson", sensor(root).policy()["l4t"])
    assert found["policies"]["jetson"]["power_mode"] == sensor(root).policy()["power_mode"]


def test_in_a_container_without_the_release_file_a_board_is_still_one(board: Any) -> None:
    root = board("agx_orin", {"/etc/nv_tegra_release": None})
    assert device_kind(root) == "jetson"
    assert "l4t" not in sensor(root).policy()


@pytest.mark.parametrize(
    ("release", "jetpack"),
    [
        ("R35 (release), REVISION: 1.0", "5.0.2"),
        ("R35 (release), REVISION: 4.1", "5.1"),
        ("R36 (release), REVISION: 3.0", "6.0"),
        ("R36 (release), REVISION: 4.0", "6.1"),
        ("R36 (release), REVISION: 4.7", "6.2.1"),
        ("R36 (release), REVISION: 5.0", "6.2.2"),
        ("R39 (release), REVISION: 2.0", "7.2"),
        ("R32 (release), REVISION: 7.1", None),
        ("R41 (release), REVISION: 1.0", None),
    ],
)
def test_the_jetpack_follows_from_the_release(board: Any, release: str, jetpack: str | None) -> None:
    assert sensor(board("orin_nano", {"/etc/nv_tegra_release": "# " + release + ", GCID: 1"})).policy().get(
        "jetpack"
    ) == (jetpack)


def test_a_board_that_tells_nothing_gets_no_flags(tree: Any) -> None:
    mute = sensor(tree({"/proc/device-tree/compatible": "nvidia,tegra234"}))
    assert (mute.policy(), mute.read(), mute.users()) == ({"chip": "tegra234"}, {}, [])
    assert mute.judge({}, {}) == []
