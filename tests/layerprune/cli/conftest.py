"""Runs the command line as users do, in a process of its own, in an empty folder, without LAYERPRUNE_* variables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LAYERPRUNE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def layerprune(tmp_path: Path) -> Run:
    def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "layerprune.cli", *arguments],
            cwd=tmp_path,
            env=os.environ | environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run
