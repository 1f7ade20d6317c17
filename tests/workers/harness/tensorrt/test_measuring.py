"""The whole measuring process over the backend: samples, parts, facts and conditions, with a GPU imagined."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.harness import process
from workers.harness.spec import Spec

PLAN = {
    "cycles": 2,
    "block_ms": 1.0,
    "warmup_min_s": 0.0,
    "warmup_later_min_s": 0.0,
    "warmup_min_runs": 5,
    "warmup_cap_s": 0.3,
}


def test_a_group_is_measured_with_its_parts_and_facts(
    rig: Callable[..., Any], conv_net: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = rig("10.3.0")
    monkeypatch.setattr(process, "load_backend", lambda name: found.backend)
    monkeypatch.setattr(process, "find_sensors", lambda root, gpu: [])
    for name in ("base", "aa"):
        (tmp_path / f"{name}.onnx").write_bytes(conv_net(depth=1))
    spec = Spec.from_dict(
        {
            "backend": "tensorrt",
            "precision": "fp32",
            "threads": 1,
            "shape": [1, 3, 8, 8],
            "networks": {name: str(tmp_path / f"{name}.onnx") for name in ("base", "aa")},
            "plan": PLAN,
            "seed": 1,
            "folder": str(tmp_path),
            "settings": {"transfers": True, "builds": 2},
            "cache": str(tmp_path / "cache"),
        }
    )
    promises = []
    result = process.measure(spec, lambda phase, expect_s=0.0: promises.append((phase, expect_s)))
    index = json.loads((tmp_path / process.INDEX).read_text())
    assert index["parts"]["base"] == ["device", "enqueue", "to_device", "from_device"]
    parts = np.fromfile(tmp_path / process.PARTS_SAMPLES, dtype="<i8").reshape(-1, 4)
    assert set(parts[:, 0]) == {1_000_000}
    assert set(parts[:, 2]) == {250_000}
    assert [result["facts"][name]["session"]["build"] for name in ("base", "aa")] == [0, 1]
    assert result["facts"]["base"]["session"]["cuda_graph"] == "used"
    assert result["conditions"]["runtime_flags"]["typing"] == "strong"
    assert result["conditions"]["device_model"] == "Imagined GPU"
    assert ("loading", 120.0) in promises
    assert len(result["canary"]) > 0
