"""A report of TensorRT on the scripted worker's device, and a job that was measured with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from layerprune.api.catalogue import BackendInfo

HARDWARE = Path(__file__).parents[3] / "docs" / "hardware"
Record = dict[str, Any]


@pytest.fixture
def record() -> Record:
    """A report of this project, said to be of TensorRT on the device that the scripted worker serves."""
    found: Record = json.loads(min(HARDWARE.glob("*.json")).read_text())
    backend = next(one for one in found["backends"] if one["backend"] == "onnxruntime")
    backend.update(backend="tensorrt", version="1.23.4", device_model="Test CPU")
    backend["conditions"].update(runtime="tensorrt", runtime_version="1.23.4", device_model="Test CPU")
    found.update(backends=[backend], made_at=1_700_000_000_000_000)
    return found


@pytest.fixture
def offer_more() -> Record:
    offered = {"version": "10.3.0", "precisions": ["fp32"], "max_opset": 20, "max_threads": 2}
    return {"backends": [BackendInfo(name=name, **offered) for name in ("onnxruntime", "tensorrt")]}


@pytest.fixture
def measured(scripted: Any, submit: Any) -> Record:
    """A job whose variants were measured with TensorRT, before any report."""
    job: Record = submit(measure={"backend": "tensorrt"})
    scripted.run()
    return job
