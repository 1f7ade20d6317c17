"""What fits is known before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from workers.harness.errors import HarnessError
from workers.harness.host import Host
from workers.harness.memory import available, check_fits

MB = 2**20


def tree(root: Path, **files: str) -> Host:
    for path, text in files.items():
        target = root / path.replace("__", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return Host(str(root))


def sparse(path: Path, size: int) -> Path:
    """A file of that size that takes no disk."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    """A machine with 100 MB left."""
    tree(tmp_path, proc__meminfo="MemTotal: 999999 kB\nMemFree: 5 kB\nMemAvailable: 102400 kB\n")
    return tmp_path


def test_the_machine_says_what_is_left(meminfo: Path) -> None:
    found = available(Host(str(meminfo)))
    assert found is not None
    assert (found.bytes, found.origin) == (100 * MB, "MemAvailable in /proc/meminfo")


def test_a_control_group_of_version_two_limits_it(meminfo: Path) -> None:
    host = tree(
        meminfo,
        proc__self__cgroup="0::/pod",
        **{
            "sys__fs__cgroup__cgroup.procs": "",
            "sys__fs__cgroup__pod__memory.max": str(64 * MB),
            "sys__fs__cgroup__pod__memory.current": str(24 * MB),
            "sys__fs__cgroup__memory.max": "max",
            "sys__fs__cgroup__memory.current": "1",
        },
    )
    found = available(host)
    assert found is not None
    assert found.bytes == 40 * MB
    assert found.origin.endswith("pod/memory.max")


def test_a_control_group_of_version_one_limits_it(meminfo: Path) -> None:
    host = tree(
        meminfo,
        proc__self__cgroup="4:memory:/pod\n3:cpu,cpuacct:/other",
        **{
            "sys__fs__cgroup__memory__pod__memory.limit_in_bytes": str(50 * MB),
            "sys__fs__cgroup__memory__pod__memory.usage_in_bytes": str(60 * MB),
        },
    )
    found = available(host)
    assert found is not None
    assert found.bytes == 0


def test_a_machine_that_says_nothing_refuses_nothing(tmp_path: Path) -> None:
    assert available(Host(str(tmp_path))) is None
    check_fits(Host(str(tmp_path)), [sparse(tmp_path / "network", 10**9)])


def test_a_network_larger_than_memory_is_refused(meminfo: Path) -> None:
    with pytest.raises(
        HarnessError, match=r"a network of 60 MB cannot fit into the 100 MB .* \(MemAvailable"
    ) as caught:
        check_fits(Host(str(meminfo)), [sparse(meminfo / "network", 60 * MB)])
    assert caught.value.code == "oom"


def test_networks_that_only_fit_one_by_one_are_refused_together(meminfo: Path) -> None:
    networks = [sparse(meminfo / name, 40 * MB) for name in ("a", "b")]
    check_fits(Host(str(meminfo)), networks[:1])
    with pytest.raises(HarnessError, match="2 networks together of 80 MB"):
        check_fits(Host(str(meminfo)), networks)


STEP = """
import numpy as np
from workers.harness.memory import Watermark
mark = Watermark()
held = np.ones(64 * 2**20, dtype=np.uint8)
print(mark.grown_bytes())
"""


def test_what_a_step_takes_is_seen() -> None:
    """In a process of its own: this one may give back what earlier tests held, at any moment."""
    told = subprocess.run([sys.executable, "-c", STEP], check=True, capture_output=True, text=True).stdout
    assert 50 * MB < int(told) < 100 * MB
