"""A task's folder with inputs by digest, as the agent leaves it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Put = Callable[[bytes], str]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Store an input and give its digest."""
    (tmp_path / "inputs").mkdir()

    def put(content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        (tmp_path / "inputs" / digest).write_bytes(content)
        return digest

    return put


@pytest.fixture
def pack(put: Put) -> str:
    """An evaluation pack of ten grey images of 8x8, all with label 0."""
    header = {"format": "lp-eval-1", "n": 10, "height": 8, "width": 8, "channels": 1, "classes": 10}
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1), dtype=np.uint8)
    return put(json.dumps(header).encode() + b"\n" + images.tobytes() + np.zeros(10, dtype="<u2").tobytes())


@pytest.fixture
def zeros(put: Put) -> str:
    """Reference outputs that are all zero, which is what the null backend answers."""
    file = io.BytesIO()
    np.save(file, np.zeros((10, 10), dtype=np.float32))
    return put(file.getvalue())


@pytest.fixture
def null_net(put: Put) -> Callable[[int], str]:
    """Store a network for the null backend that takes so many microseconds."""
    return lambda latency_us: put(json.dumps({"latency_ns": latency_us * 1000}).encode())
