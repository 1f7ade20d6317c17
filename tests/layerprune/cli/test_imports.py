from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "onnxruntime", "numpy", "fastapi", "sqlalchemy", "httpx", "uvicorn")


def measured_import(module: str) -> tuple[float, set[str]]:
    """Import in a fresh process; processor time, the best of three, since a busy machine only ever adds."""
    code = (
        f"import time, sys; t = time.process_time(); import {module};"
        "print(time.process_time() - t); print(*sys.modules)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
        for _ in range(3)
    ]
    return min(float(run[0]) for run in runs), set(runs[0][1].split())


@pytest.mark.parametrize(("module", "seconds"), [("layerprune", 0.2), ("layerprune.cli", 0.3)])
def test_importing_is_quick_and_light(module: str, seconds: float) -> None:
    took, loaded = measured_import(module)
    assert not loaded.intersection(HEAVY)
    assert took < seconds
