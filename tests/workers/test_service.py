"""The unit with which a worker survives reboots."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import workers

UNIT = Path(workers.__file__).parent / "layerprune-worker.service"
PROGRAM = "/opt/layerprune/bin/layerprune"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    # It wants the program to exist; the one that it finds is any that does.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(PROGRAM, "/usr/bin/env"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, complaints) == (0, []), done.stderr


def test_the_unit_starts_again_after_every_end_and_gives_the_task_back() -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    assert (settings["Restart"], settings["StartLimitIntervalSec"]) == ("always", "0")
    assert settings["KillMode"] == "mixed"
    assert settings["WantedBy"] == "multi-user.target"
    assert settings["ExecStart"].startswith(f"{PROGRAM} worker ")


def test_the_unit_sets_no_limit_that_changes_what_is_measured() -> None:
    lines = [line for line in UNIT.read_text().splitlines() if not line.startswith("#")]
    assert not [line for line in lines if re.match(r"CPU|Memory|Nice|IOWeight|AllowedCPUs", line)]
