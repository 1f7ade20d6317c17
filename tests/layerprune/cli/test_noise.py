"""`noise` and `probe`: what disturbs a machine is graded from trees of files, and both run for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layerprune.cli import noise
from layerprune.cli.neighbours import Neighbour, Neighbours
from layerprune.cli.quietness import Finding, findings
from workers.harness.host import Host

Run = Callable[..., "subprocess.CompletedProcess[str]"]
QUIET = {
    "window_s": 5.0,
    "involuntary_switches": 2,
    "usable_cpus": 2,
    "foreign_cpus": 0.01,
    "steal_share": 0.0,
    "throttled_periods": 0,
    "stall_share": 0.0,
    "frequencies_mhz": [2000, 2000],
    "sensors": {"flags": []},
    "hot": {},
}
GOOD = {
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance",
    "sys/devices/system/cpu/intel_pstate/no_turbo": "1",
    "sys/devices/system/cpu/smt/active": "0",
    "proc/cpuinfo": "flags : fpu avx2\n",
}


def graded(
    folder: Path, files: dict[str, str], *observed: dict[str, Any], neighbours: tuple[Neighbour, ...] = ()
) -> dict[str, Finding]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    seen = [QUIET | one for one in observed] or [QUIET, QUIET]
    return {one.what: one for one in findings(Host(str(folder), cpus=[0, 1]), seen, neighbours)}


def test_a_quiet_machine_has_nothing_to_change(tmp_path: Path) -> None:
    found = graded(tmp_path, GOOD)
    assert {one.grade for one in found.values()} == {"good"}
    assert not any(one.advice for one in found.values())


def test_what_a_machine_does_not_say_is_unknown(tmp_path: Path) -> None:
    found = graded(tmp_path, {}, {"foreign_cpus": None, "steal_share": None})
    assert {what for what, one in found.items() if one.grade == "unknown"} == {
        "foreign load",
        "steal",
        "governor",
        "hyper-threading",
    }


@pytest.mark.parametrize(
    ("files", "observed", "what", "grade", "advice"),
    [
        ({}, {"foreign_cpus": 0.9}, "foreign load", "bad", "Stop backup (process 7, 0.90)"),
        ({}, {"steal_share": 0.05}, "steal", "bad", "dedicated processors"),
        ({}, {"steal_share": 0.005}, "steal", "fair", "dedicated processors"),
        ({}, {"throttled_periods": 3}, "CPU quota", "bad", "Raise the container's CPU quota"),
        ({}, {"stall_share": 0.2}, "pressure", "bad", "Leave more processors free"),
        ({}, {"involuntary_switches": 500}, "involuntary switches", "bad", "taskset"),
        ({}, {"sensors": {"flags": ["throttled"]}}, "throttling", "bad", "Cool the machine"),
        ({}, {"hot": {"x": 1}}, "throttling", "bad", "Cool the machine"),
        (
            {"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave"},
            {},
            "governor",
            "bad",
            "cpupower frequency-set -g performance",
        ),
        ({"sys/devices/system/cpu/intel_pstate/no_turbo": "0"}, {}, "turbo", "fair", "echo 1 | sudo tee"),
        ({"sys/devices/system/cpu/smt/active": "1"}, {}, "hyper-threading", "fair", "half as many threads"),
        ({"proc/cpuinfo": "flags : fpu hypervisor\n"}, {}, "virtual machine", "fair", "bare metal"),
    ],
)
def test_what_disturbs_is_graded_and_has_a_remedy(
    tmp_path: Path, files: dict[str, str], observed: dict[str, Any], what: str, grade: str, advice: str
) -> None:
    found = graded(tmp_path, GOOD | files, observed, neighbours=(Neighbour(7, "backup", 0.9),))
    assert found[what].grade == grade
    assert advice in found[what].advice
    assert [one.what for one in found.values() if one.grade != "good"] == [what]


def test_clocks_that_wander_are_bad(tmp_path: Path) -> None:
    found = graded(tmp_path, GOOD, {"frequencies_mhz": [2000]}, {"frequencies_mhz": [1800]})
    assert (found["clocks"].grade, found["clocks"].seen) == ("bad", "1800 to 2000 MHz")


def test_a_quota_of_part_of_a_processor_is_seen(tmp_path: Path) -> None:
    group = {
        "proc/self/cgroup": "0::/box\n",
        "sys/fs/cgroup/cgroup.procs": "",
        "sys/fs/cgroup/box/cpu.max": "150000 100000",
    }
    found = graded(tmp_path, GOOD | group)
    assert (found["CPU quota"].grade, found["CPU quota"].seen[:14]) == ("fair", "1.5 processors")


@pytest.fixture
def hog() -> Iterator[int]:
    """A busy process of somebody else: of a parent that is not ours."""
    script = "import os\npid = os.fork()\nif pid: print(pid, flush=True); os._exit(0)\nos.close(1)\nwhile True: pass"
    started = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True, close_fds=True
    )
    pid = int(started.stdout)
    yield pid
    os.kill(pid, 9)


def test_a_busy_neighbour_is_named(hog: int) -> None:
    neighbours = Neighbours()
    deadline = time.monotonic() + 20
    while hog not in {one.pid for one in neighbours.busiest()}:
        assert time.monotonic() < deadline, "the busy process was not seen"
        time.sleep(0.05)


def test_our_own_processes_are_no_neighbours() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        try:
            neighbours = Neighbours()
            deadline = time.monotonic() + 0.5
            while time.monotonic() < deadline:
                assert child.pid not in {one.pid for one in neighbours.busiest()}
                time.sleep(0.05)
        finally:
            child.kill()


def test_noise_measures_a_network_against_itself(tmp_path: Path, by_hand: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERPRUNE_LOCK_DIR", str(tmp_path / "locks"))
    monkeypatch.setattr(noise, "PROCESSES", 2)
    done = by_hand("noise", "--backend", "null", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # The null runtime's noise is its own, 1 % of exponential times.
    assert found["comparisons"] == 2 * noise.COPIES
    assert (found["level"], found["score"]) == ("quiet", 100)
    assert 0 < found["error_mean"] <= found["error_95"] < 0.01
    assert "foreign load" in {one["what"] for one in found["findings"]}


def test_probe_says_what_can_be_measured_with(tmp_path: Path, by_hand: Run) -> None:
    done = by_hand("probe", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == ["facts", "backends", "missing", "sensors", "energy"]
    assert found["facts"]["max_threads"] >= 1
    names = [one["name"] for one in found["backends"]]
    assert "onnxruntime" in names
    assert "null" not in names
    assert not set(names) & set(found["missing"])


def test_probe_is_readable(tmp_path: Path, by_hand: Run) -> None:
    done = by_hand("probe", cwd=tmp_path)
    assert "onnxruntime" in done.stdout
    assert "energy: " in done.stdout
