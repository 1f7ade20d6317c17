"""What sensors do for a whole measurement, on boards made of files and on a runtime that computes nothing."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workers.harness.errors import HarnessError
from workers.harness.process import measure
from workers.harness.spec import Spec

PLAN = {
    "cycles": 2,
    "block_ms": 2.0,
    "warmup_min_s": 0.01,
    "warmup_later_min_s": 0.01,
    "warmup_min_runs": 5,
    "warmup_cap_s": 0.2,
}


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Give a function that measures two networks on the machine below a root."""
    folder = tmp_path_factory.mktemp("task") / "process"
    folder.mkdir()

    def run(root: str, say: Callable[..., None] = lambda phase, **_: None) -> dict[str, Any]:
        networks = {}
        for name in ("base", "aa"):
            networks[name] = str(folder / name)
            Path(networks[name]).write_text(json.dumps({"latency_ns": 500_000}))
        spec = {
            "backend": "null",
            "precision": "fp32",
            "threads": 1,
            "shape": [1, 3, 8, 8],
            "networks": networks,
            "plan": PLAN,
            "seed": 1,
            "folder": str(folder),
            "root": root,
        }
        return measure(Spec.from_dict(spec), say)

    return run


def test_the_power_mode_is_part_of_what_must_be_equal(board: Any, run: Callable[..., dict[str, Any]]) -> None:
    result = run(board("agx_orin"))
    assert result["conditions"]["policies"]["jetson"]["power_mode"] == "MAXN"
    assert result["observed"]["sensors"]["after"]["jetson"]["rails_mw"]["VDD_GPU_SOC"] == pytest.approx(3971.2)
    assert not {"throttled", "clock_drop", "clocks_unlocked"} & set(result["flags"])


def test_events_during_the_timing_flag_the_row(board: Any, run: Callable[..., dict[str, Any]]) -> None:
    root = board("agx_orin")

    def say(phase: str, **_: Any) -> None:
        if phase == "timing":
            board("agx_orin", {"/sys/class/hwmon/hwmon5/oc3_event_cnt": "8"})

    assert "throttled" in run(root, say)["flags"]


def test_a_board_that_somebody_uses_is_not_measured(board: Any, run: Callable[..., dict[str, Any]]) -> None:
    root = board("orin_nano", {"/sys/class/devfreq/17000000.gpu/device/load": "990"})
    with pytest.raises(HarnessError, match="somebody else computes on this device"):
        run(root)


def test_an_emulated_processor_is_declared(tree: Any, run: Callable[..., dict[str, Any]]) -> None:
    other = "x86_64" if platform.machine() == "aarch64" else "aarch64"
    assert run(tree({"/proc/sys/kernel/arch": other}))["conditions"]["emulated"] == other
    assert "emulated" not in run(tree({"/proc/sys/kernel/arch": platform.machine()}))["conditions"]
