"""Which Python runs the measuring process, and how it is started there.

It may be another than the agent's, such as a board's system Python, which alone has the runtime. Nothing of the agent's
environment is visible to it but the package `workers.harness`, whose packages may be built for another Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from layerprune.api.errors import BadInput

from .children import PACKAGES, clean_environment

VARIABLE = "LAYERPRUNE_PYTHON"
"""By this a worker tells its measuring children which interpreter to use."""
CACHE_VARIABLE = "LAYERPRUNE_CACHE"
"""By this a worker tells its measuring children where a runtime may keep what outlives a task, such as engines."""
OLDEST = (3, 8)
START_S = 60.0
_BOOTSTRAP = """
import runpy, sys, types
package = types.ModuleType("workers")
package.__path__ = [sys.argv.pop(1)]
sys.modules["workers"] = package
sys.path[:] = [place for place in sys.path if place]
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
_PROBE = """
import sys
print(".".join(map(str, sys.version_info[:2])))
import numpy
print(numpy.__version__)
"""


def chosen() -> str:
    """Return the interpreter that measures: the one that the worker was told, or this one."""
    return os.environ.get(VARIABLE) or sys.executable


def cache() -> Path | None:
    """Return the folder in which runtimes may keep what outlives a task; None where the worker names none."""
    told = os.environ.get(CACHE_VARIABLE)
    return Path(told) if told else None


def command(python: str, module: str = "workers.harness") -> list[str]:
    """Return how to start the measuring process, or another module of the harness, under an interpreter."""
    return [python, "-c", _BOOTSTRAP, str(PACKAGES / "workers"), module]


def environment() -> dict[str, str]:
    """Return the measuring process's environment: without our settings, and without our packages."""
    kept = clean_environment()
    if inherited := os.environ.get("PYTHONPATH"):
        return {**kept, "PYTHONPATH": inherited}
    del kept["PYTHONPATH"]
    return kept


def check(python: str) -> None:
    """Raise BadInput unless the interpreter exists, is new enough and has numpy."""
    if shutil.which(python) is None:
        raise _refusal(python, "there is no such program", "Name an interpreter with its path.")
    try:
        done = subprocess.run(
            [python, "-c", _PROBE], capture_output=True, text=True, timeout=START_S, env=environment(), check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _refusal(python, str(error), "Name an interpreter that starts.") from error
    version, *numpy = done.stdout.split()[:2] or ["?"]
    parts = tuple(int(part) for part in version.split(".") if part.isdigit())
    if len(parts) != 2:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise _refusal(python, f"it is no Python: {last}", "Name a Python interpreter.")
    if parts < OLDEST:
        raise _refusal(python, f"it is Python {version}", "The measuring process needs Python 3.8 or later.")
    if not numpy:
        last = (done.stderr.strip().splitlines() or ["import numpy failed"])[-1]
        raise _refusal(
            python,
            f"its Python {version} cannot import numpy: {last}",
            f"Install it there, for instance: {python} -m pip install numpy (on Debian: apt install python3-numpy).",
        )


def _refusal(python: str, why: str, remedy: str) -> BadInput:
    return BadInput(f"{python} cannot run the measuring process: {why}", field="python", value=python, remedy=remedy)
