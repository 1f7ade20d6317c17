from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = "from layerprune import faults; faults.point('worker.uploaded'); print('alive')"


def run(**environment: str) -> int:
    return subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=False).returncode


def test_a_named_fault_strikes_once(tmp_path: Path) -> None:
    environment = {"LAYERPRUNE_FAULT": "worker.uploaded", "LAYERPRUNE_FAULT_FLAG": str(tmp_path / "struck")}
    assert run(**environment) == -signal.SIGKILL
    assert run(**environment) == 0


def test_without_a_name_nothing_strikes(tmp_path: Path) -> None:
    assert run(LAYERPRUNE_FAULT_FLAG=str(tmp_path / "struck")) == 0
    assert run(LAYERPRUNE_FAULT="another.point", LAYERPRUNE_FAULT_FLAG=str(tmp_path / "struck")) == 0
