"""Boards as trees of files, written from NVIDIA's and the kernel's documentation; none was recorded on a board of ours.

Labels of rails, thermal zones and cooling devices are those of the Jetson Linux Developer Guide (r35.6, r36.3, r38.2)
and of the device trees in the kernel; values are plausible.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Tree = dict[str, str]
CPU = "/sys/devices/system/cpu/cpu%d/cpufreq/"


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[Mapping[str, str | None]], str]:
    """Give a function that writes files below a root, removes those that are None, and returns the root."""

    def write(files: Mapping[str, str | None]) -> str:
        for name, text in files.items():
            path = tmp_path / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_text(text + "\n")
        return str(tmp_path)

    return write


@pytest.fixture
def board(tree: Callable[[Mapping[str, str | None]], str]) -> Callable[..., str]:
    """Give a function that writes the board of a name, then changes files or removes those that are None."""

    def write(name: str, changes: Mapping[str, str | None] | None = None) -> str:
        tree(BOARDS[name]())
        return tree(changes or {})

    return write


def orin_nano() -> Tree:
    """Jetson Orin Nano 8GB, JetPack 6.2, mode 25W, clocks free: one monitor whose VDD_IN feeds everything."""
    return {
        **system("NVIDIA Jetson Orin Nano Developer Kit", "tegra234", "R36", "4.3"),
        **modes(["15W", "25W", "MAXN_SUPER"], chosen=1),
        **processors(6, low_khz=115_200, high_khz=1_344_000, now_khz=1_344_000),
        **gpu("17000000.gpu", low_mhz=306, high_mhz=918, now_mhz=612, load=2),
        **monitor(
            1, "ina3221", {1: ("VDD_IN", 5000, 1200), 2: ("VDD_CPU_GPU_CV", 5000, 300), 3: ("VDD_SOC", 5000, 280)}
        ),
        **over_current(3, [0, 0, 0]),
        **zones({"cpu-thermal": 48500, "gpu-thermal": 47000, "cv0-thermal": -256000, "tj-thermal": 48500}),
        **cooling({"pwm-fan": 2, "cpu-throttle-alert": 0, "gpu-throttle-alert": 0, "hot-surface-alert": 0}),
    }


def agx_orin() -> Tree:
    """Jetson AGX Orin 64GB, JetPack 5.1.4, mode MAXN with `jetson_clocks`: two monitors, no rail that feeds all."""
    return {
        **system("Jetson AGX Orin Developer Kit", "tegra234", "R35", "6.0"),
        **modes(["MAXN", "MODE_15W", "MODE_30W", "MODE_50W"], chosen=0),
        **processors(12, low_khz=2_201_600, high_khz=2_201_600, now_khz=2_188_800, measured_khz=2_187_264),
        **gpu("17000000.ga10b", low_mhz=1300, high_mhz=1300, now_mhz=1300, load=0),
        **monitor(
            3, "ina3221", {1: ("VDD_GPU_SOC", 19856, 200), 2: ("VDD_CPU_CV", 19856, 50), 3: ("VIN_SYS_5V0", 4968, 800)}
        ),
        **monitor(4, "ina3221", {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 4968, 200), 3: ("NC", 0, 0)}),
        **over_current(5, [0, 12, 7]),
        **zones({"CPU-therm": 52000, "GPU-therm": 50500, "tj-therm": 52000, "Tboard-therm": 40000}),
        **cooling({"pwm-fan": 1, "cpu-throttle-alert": 0, "hot-surface-alert": 1}),
    }


def xavier() -> Tree:
    """Jetson AGX Xavier, JetPack 5.1.4, mode 30W; no over-current counters in this release."""
    return {
        **system("Jetson-AGX", "tegra194", "R35", "6.0"),
        **modes(["MAXN", "MODE_10W", "MODE_15W", "MODE_30W_ALL"], chosen=3),
        **processors(8, low_khz=115_200, high_khz=1_190_400, now_khz=1_190_400),
        **gpu("17000000.gv11b", low_mhz=114, high_mhz=905, now_mhz=114, load=0),
        **monitor(2, "ina3221", {1: ("GPU", 19000, 50), 2: ("CPU", 19000, 40), 3: ("SOC", 19000, 110)}),
        **monitor(3, "ina3221", {1: ("CV", 19000, 0), 2: ("VDDRQ", 19000, 20), 3: ("SYS5V", 4900, 400)}),
        **zones({"CPU-therm": 39000, "GPU-therm": 38500, "AUX-therm": 38000, "PMIC-Die": 100000}),
        **cooling({"pwm-fan": 0, "cpufreq-cpu0": 0}),
    }


def thor() -> Tree:
    """Jetson AGX Thor, JetPack 7.0, mode MAXN, clocks free: an INA238 at the input, two devfreq nodes of the GPU."""
    return {
        **system("NVIDIA Jetson AGX Thor Developer Kit", "tegra264", "R38", "2.0"),
        **modes(["MAXN", "120W"], chosen=0),
        **processors(14, low_khz=54_000, high_khz=2_601_000, now_khz=2_601_000, measured_khz=2_595_000),
        **gpu("gpu-gpc-0", low_mhz=315, high_mhz=1575, now_mhz=1575, load=0),
        **gpu("gpu-nvd-0", low_mhz=315, high_mhz=1692, now_mhz=1692, load=0),
        **monitor(
            3,
            "ina3221",
            {1: ("VDD_GPU", 12000, 200), 2: ("VDD_CPU_SOC_MSS", 12000, 540), 3: ("VIN_SYS_5V0", 5000, 1300)},
        ),
        "/sys/class/hwmon/hwmon4/name": "ina238",
        "/sys/class/hwmon/hwmon4/power1_input": "23100000",
        **over_current(5, [0, 0, 179]),
        **zones({"cpu-thermal": 53700, "soc012-thermal": 55100, "tj-thermal": 55100}),
        "/sys/class/thermal/thermal_zone9/type": "gpu-thermal",
        **cooling({"pwm-fan": 3, "devfreq-gpu-gpc-0": 0}),
    }


BOARDS: dict[str, Callable[[], Tree]] = {
    "orin_nano": orin_nano,
    "agx_orin": agx_orin,
    "xavier": xavier,
    "thor": thor,
}


def system(model: str, chip: str, major: str, revision: str) -> Tree:
    return {
        "/proc/device-tree/model": model + "\0",
        "/proc/device-tree/compatible": f"nvidia,p3737-0000+p3701-0005\0nvidia,{chip}\0",
        "/etc/nv_tegra_release": f"# {major} (release), REVISION: {revision}, GCID: 38968081, BOARD: generic",
    }


def modes(names: list[str], *, chosen: int | None) -> Tree:
    rows = [f"< POWER_MODEL ID={n} NAME={name} >\nCPU_ONLINE CORE_0 1" for n, name in enumerate(names)]
    tree = {"/etc/nvpmodel.conf": "\n\n".join([*rows, "< PM_CONFIG DEFAULT=1 >"])}
    if chosen is not None:
        tree["/var/lib/nvpmodel/status"] = f"pmode:{chosen:04}"
    return tree


def processors(count: int, *, low_khz: int, high_khz: int, now_khz: int, measured_khz: int | None = None) -> Tree:
    tree = {}
    for n in range(count):
        tree[CPU % n + "scaling_min_freq"] = str(low_khz)
        tree[CPU % n + "scaling_max_freq"] = str(high_khz)
        tree[CPU % n + "scaling_cur_freq"] = str(now_khz)
        if measured_khz is not None:
            tree[CPU % n + "cpuinfo_cur_freq"] = str(measured_khz)
    return tree


def gpu(node: str, *, low_mhz: int, high_mhz: int, now_mhz: int, load: int) -> Tree:
    folder = f"/sys/class/devfreq/{node}/"
    clocks = {"min_freq": low_mhz, "max_freq": high_mhz, "cur_freq": now_mhz}
    return {**{folder + name: f"{mhz}000000" for name, mhz in clocks.items()}, folder + "device/load": str(load)}


def monitor(number: int, name: str, channels: Mapping[int, tuple[str, int, int]]) -> Tree:
    folder = f"/sys/class/hwmon/hwmon{number}/"
    tree = {folder + "name": name, folder + "in7_label": "sum of shunt voltages", folder + "in7_input": "1"}
    for n, (label, millivolts, milliamperes) in channels.items():
        tree[f"{folder}in{n}_label"] = label
        tree[f"{folder}in{n}_input"] = str(millivolts)
        tree[f"{folder}curr{n}_input"] = str(milliamperes)
    return tree


def over_current(number: int, counts: list[int]) -> Tree:
    folder = f"/sys/class/hwmon/hwmon{number}/"
    events = {f"{folder}oc{n}_event_cnt": str(count) for n, count in enumerate(counts, 1)}
    return {folder + "name": "soctherm_oc", folder + "oc1_throt_en": "1", **events}


def zones(millidegrees: Mapping[str, int]) -> Tree:
    tree = {}
    for n, (kind, value) in enumerate(millidegrees.items()):
        tree[f"/sys/class/thermal/thermal_zone{n}/type"] = kind
        tree[f"/sys/class/thermal/thermal_zone{n}/temp"] = str(value)
    return tree


def cooling(states: Mapping[str, int]) -> Tree:
    tree = {}
    for n, (kind, state) in enumerate(states.items()):
        tree[f"/sys/class/thermal/cooling_device{n}/type"] = kind
        tree[f"/sys/class/thermal/cooling_device{n}/cur_state"] = str(state)
    return tree
