"""A GPU as NVML tells it, from a stand-in that has the names and the signatures of the real package, and no others."""

from __future__ import annotations

import inspect
import os
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pynvml
import pytest

from workers.harness import energy
from workers.harness.sensors import check_free, device_kind, find_sensors, nvml
from workers.harness.sensors.nvml import NvmlSensor, find_nvml

UUIDS = ["GPU-11111111-aaaa", "GPU-22222222-bbbb"]


def stand_in(answers: dict[str, Any]) -> ModuleType:
    """Make a module with all functions of the real one; those without an answer fail as on a card that lacks them.

    An answer may be a function of the same arguments. Each call must fit the real signature.
    """
    module = ModuleType("pynvml")
    for name, real in vars(pynvml).items():
        if inspect.isfunction(real) and name.startswith("nvml"):
            setattr(module, name, _function(name, answers))
        elif not name.startswith("__"):
            setattr(module, name, real)
    unknown = [name for name in answers if not hasattr(pynvml, name)]
    assert not unknown, f"the real package has no {unknown}"
    return module


def _function(name: str, answers: dict[str, Any]) -> Any:
    def call(*args: Any) -> Any:
        inspect.signature(getattr(pynvml, name)).bind(*args)
        if name not in answers:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        answer = answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer(*args) if callable(answer) else answer

    return call


CARD: dict[str, Any] = {
    "nvmlInit": None,
    "nvmlDeviceGetCount": 2,
    "nvmlDeviceGetHandleByIndex": lambda i: i,
    "nvmlDeviceGetUUID": lambda handle: UUIDS[handle],
    "nvmlDeviceGetName": "NVIDIA L4",
    "nvmlSystemGetDriverVersion": "580.65.06",
    "nvmlDeviceGetEnforcedPowerLimit": 72000,
    "nvmlDeviceGetEccMode": [1, 1],
    "nvmlDeviceGetCurrentClocksEventReasons": 0x1,
    "nvmlDeviceGetViolationStatus": lambda handle, policy: SimpleNamespace(violationTime=1000 * (policy + 1)),
    "nvmlDeviceGetClockInfo": lambda handle, kind: 1700,
    "nvmlDeviceGetClock": lambda handle, kind, which: {1: 2040, 2: 2040}[which],
    "nvmlDeviceGetTemperature": lambda handle, kind: 51,
    "nvmlDeviceGetTotalEnergyConsumption": 123456,
    "nvmlDeviceGetComputeRunningProcesses_v3": [],
    "nvmlSystemGetProcessName": lambda pid: {4711: "/usr/bin/trainer"}.get(pid, "python"),
}


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function that puts a card with some other answers in place, and returns its sensor."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(**changes: Any) -> NvmlSensor:
        monkeypatch.setitem(sys.modules, "pynvml", stand_in({**CARD, **changes}))
        found = find_nvml()
        assert found is not None
        return NvmlSensor(found, found.gpus()[0])

    return put


def processes(*pids: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(pid=pid, usedGpuMemory=1) for pid in pids]


def test_every_name_that_is_asked_for_is_one_of_the_real_package() -> None:
    asked = set(re.findall(r'"(nvml\w+)"', Path(nvml.__file__).read_text()))
    assert len(asked) > 10
    assert not [name for name in asked if not hasattr(pynvml, name)]


def test_the_numbers_are_those_of_the_real_package() -> None:
    real = {
        "sw_power_cap": pynvml.nvmlClocksEventReasonSwPowerCap,
        "hw_slowdown": pynvml.nvmlClocksEventReasonHwSlowdown,
        "sw_thermal_slowdown": pynvml.nvmlClocksEventReasonSwThermalSlowdown,
        "hw_thermal_slowdown": pynvml.nvmlClocksEventReasonHwThermalSlowdown,
        "hw_power_brake": pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
    }
    assert real == nvml.THROTTLING
    assert nvml.VIOLATIONS == {"power": pynvml.NVML_PERF_POLICY_POWER, "thermal": pynvml.NVML_PERF_POLICY_THERMAL}
    assert (nvml.CLOCK_SM, nvml.TEMPERATURE_GPU) == (pynvml.NVML_CLOCK_SM, pynvml.NVML_TEMPERATURE_GPU)
    assert (nvml.CLOCK_ID_APP_TARGET, nvml.CLOCK_ID_APP_DEFAULT) == (
        pynvml.NVML_CLOCK_ID_APP_CLOCK_TARGET,
        pynvml.NVML_CLOCK_ID_APP_CLOCK_DEFAULT,
    )


def test_what_must_be_equal_to_compare(card: Any) -> None:
    assert card().policy() == {"model": "NVIDIA L4", "driver": "580.65.06", "power_limit_w": 72, "ecc": True}
    fixed = card(nvmlDeviceGetClock=lambda handle, kind, which: {1: 1500, 2: 2040}[which])
    assert fixed.policy()["fixed_mhz"] == 1500


def test_readings(card: Any) -> None:
    assert card().read() == {
        "uuid": UUIDS[0],
        "sm_mhz": 1700,
        "temperatures_c": {"gpu": 51},
        "violations_ns": {"power": 1000, "thermal": 2000},
        "energy_mj": 123456,
    }


def test_a_card_that_knows_nothing_has_no_readings_and_no_flags(card: Any) -> None:
    known = dict.fromkeys(CARD, pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED))
    kept = {name: CARD[name] for name in ("nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex")}
    mute = card(**{**known, **kept})
    assert (mute.policy(), mute.read(), mute.users()) == ({}, {}, [])
    assert mute.judge({}, {}) == []


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({}, []),
        ({"nvmlDeviceGetCurrentClocksEventReasons": 0x1 | 0x2 | 0x10 | 0x100}, []),
        ({"nvmlDeviceGetCurrentClocksEventReasons": 0x4}, ["throttled"]),
        ({"nvmlDeviceGetCurrentClocksEventReasons": 0x60}, ["throttled"]),
        (
            {"nvmlDeviceGetViolationStatus": lambda handle, policy: SimpleNamespace(violationTime=5000)},
            ["throttled"],
        ),
        ({"nvmlDeviceGetClockInfo": lambda handle, kind: 1650}, []),
        ({"nvmlDeviceGetClockInfo": lambda handle, kind: 1500}, ["clock_drop"]),
        ({"nvmlDeviceGetComputeRunningProcesses_v3": processes(4711)}, ["foreign_process"]),
        ({"nvmlDeviceGetComputeRunningProcesses_v3": processes(os.getpid())}, []),
        ({"nvmlDeviceGetComputeRunningProcesses_v3": processes(os.getpid(), 4711)}, ["foreign_process"]),
    ],
    ids=["quiet", "harmless reasons", "power cap", "heat", "held down meanwhile", "a little slower", "slower",
         "a newcomer", "we ourselves", "somebody beside us"],
)  # fmt: skip
def test_flags_follow_from_two_readings(card: Any, changes: dict[str, Any], flags: list[str]) -> None:
    before = card().read()
    changed = card(**changes)
    assert changed.judge(before, changed.read()) == [*flags, "clocks_unlocked"]


def test_a_fixed_clock_that_is_not_held_is_flagged(card: Any) -> None:
    def fixed(handle: int, kind: int, which: int) -> int:
        return {1: 1500, 2: 2040}[which]

    held = card(nvmlDeviceGetClock=fixed, nvmlDeviceGetClockInfo=lambda handle, kind: 1485)
    assert held.judge(held.read(), held.read()) == []
    lost = card(nvmlDeviceGetClock=fixed, nvmlDeviceGetClockInfo=lambda handle, kind: 1455)
    assert lost.judge(lost.read(), lost.read()) == ["clock_drop"]


def test_the_clocks_of_a_board_are_judged_by_the_board(card: Any) -> None:
    card()
    found = find_nvml()
    assert found is not None
    thor = NvmlSensor(found, 0, is_on_board=True)
    assert thor.judge(thor.read(), thor.read()) == []


def test_a_container_that_counts_processes_otherwise_raises_no_alarm(card: Any) -> None:
    foreign_numbers = card(nvmlDeviceGetComputeRunningProcesses_v3=processes(999_999_001))
    assert "foreign_process" not in foreign_numbers.judge(foreign_numbers.read(), foreign_numbers.read())


def test_a_used_card_is_refused_with_its_user(card: Any) -> None:
    with pytest.raises(Exception, match=r"somebody else computes on this device: /usr/bin/trainer \(process 4711\)"):
        check_free([card(nvmlDeviceGetComputeRunningProcesses_v3=processes(4711))])
    check_free([card()])


@pytest.mark.parametrize(
    ("visible", "handles"),
    [(None, [0, 1]), ("1", [1]), ("1,0", [1, 0]), ("GPU-2222", [1]), ("", []), ("0,7,1", [0]), ("-1", [])],
)
def test_cuda_sees_what_it_is_told_to(
    card: Any, monkeypatch: pytest.MonkeyPatch, visible: str | None, handles: list[int]
) -> None:
    card()
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = find_nvml()
    assert found is not None
    assert found.gpus() == handles


def test_without_the_package_or_the_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refusal = pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    monkeypatch.setitem(sys.modules, "pynvml", stand_in({"nvmlInit": refusal}))
    assert find_nvml() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert find_nvml() is None
    assert device_kind(str(tmp_path)) == "cpu"


def test_an_older_package_is_asked_by_its_own_names(card: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    older = stand_in({**CARD, "nvmlDeviceGetCurrentClocksThrottleReasons": 0x8, "nvmlDeviceGetUUID": UUIDS[0].encode()})
    del older.nvmlDeviceGetCurrentClocksEventReasons
    del older.nvmlDeviceGetTemperatureV
    monkeypatch.setitem(sys.modules, "pynvml", older)
    found = find_nvml()
    assert found is not None
    seen = NvmlSensor(found, 0).read()
    assert (seen["throttling"], seen["uuid"], seen["temperatures_c"]) == (["hw_slowdown"], UUIDS[0], {"gpu": 51})


def test_an_older_driver_is_asked_by_its_own_names(card: Any) -> None:
    missing = pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    older = card(
        nvmlDeviceGetCurrentClocksEventReasons=missing,
        nvmlDeviceGetCurrentClocksThrottleReasons=0x80,
        nvmlDeviceGetComputeRunningProcesses_v3=missing,
        nvmlDeviceGetComputeRunningProcesses_v2=processes(4711),
    )
    assert older.read()["throttling"] == ["hw_power_brake"]
    assert [user.pid for user in older.users()] == [4711]


def test_only_what_runs_on_the_gpu_is_judged_by_it(card: Any, tmp_path: Path) -> None:
    card()
    assert [one.name for one in find_sensors(str(tmp_path))] == ["cpu", "gpu"]
    assert [one.name for one in find_sensors(str(tmp_path), gpu=False)] == ["cpu"]


def test_the_cards_own_counter_is_the_meter(card: Any, tmp_path: Path) -> None:
    values = iter([1000, 1000, 1750])
    card(nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(values))
    meter = energy.find_meter(str(tmp_path), gpu=True)
    assert meter is not None
    assert meter.source == "nvml"
    meter.start()
    reading = meter.stop()
    assert reading is not None
    assert reading.millijoules == 750


def test_a_card_without_a_counter_is_no_meter(card: Any, tmp_path: Path) -> None:
    card(nvmlDeviceGetTotalEnergyConsumption=pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED))
    assert energy.find_meter(str(tmp_path), gpu=True) is None


def test_the_real_package_finds_no_gpu_where_there_is_no_driver() -> None:
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has an NVIDIA driver")
    assert find_nvml() is None
