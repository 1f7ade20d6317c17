from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "onnxruntime", "numpy", "fastapi", "sqlalchemy", "httpx", "uvicorn", "layerprune.api.tasks")
"""Each costs a good part of a second, or (the wire types of tasks) more than all the rest of the command line."""


@pytest.mark.parametrize("module", ["layerprune", "layerprune.cli"])
def test_importing_is_light(module: str) -> None:
    code = f"import sys; import {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()).intersection(HEAVY)
