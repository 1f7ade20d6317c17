"""A backend without a runtime: it computes nothing and takes as long as it is told, on a clock of its own.

It exercises everything around a measurement in an instant and repeatably. What it reports is never ranked.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, Tuple

import numpy as np

from .base import PARTS, Options, Session, check_settings


class NullBackend:
    """Latencies are 100 microseconds plus a nanosecond per byte of the network, with 1 % of seeded noise.

    A network that is a JSON object says more: `{"latency_ns": 500000, "noise": 0.01, "classes": 10}`, and with
    `"parts": {"device": 0.8}` what share of each run its device took; `"memory_bytes"` is how much it holds.
    """

    name = "null"
    version = "1"
    precisions = ("fp32",)
    max_opset = 99
    settings: Dict[str, type] = {}

    def __init__(self) -> None:
        self._now_ns = 0
        self._loaded = 0

    def clock(self) -> int:
        return self._now_ns

    def advance(self, nanoseconds: int) -> None:
        """Let time pass."""
        self._now_ns += nanoseconds

    def flags(self) -> Dict[str, Any]:
        return {}

    def hardware(self) -> Dict[str, Any]:
        return {}

    def load(
        self,
        onnx: bytes,
        *,
        shape: Tuple[int, ...],
        threads: int,
        precision: str,  # noqa: ARG002
        data: np.ndarray,  # noqa: ARG002
        options: Options,
    ) -> Session:
        check_settings(self.name, options.settings, self.settings)
        self._loaded += 1
        return NullSession(self, onnx, batch=shape[0], threads=threads, number=self._loaded)


class NullSession:
    """Lets synthetic time pass; its output is zero for every class."""

    def __init__(self, backend: NullBackend, onnx: bytes, *, batch: int, threads: int, number: int) -> None:
        told = _told(onnx)
        self._shares = {name: float(share) for name, share in told.get("parts", {}).items()}
        self.parts = tuple(name for name in PARTS if name in self._shares)
        self.facts: Dict[str, Any] = {}
        self._memory = np.empty(int(told.get("memory_bytes", 0)), dtype=np.uint8)
        self._backend = backend
        self._last_ns = 0
        self._classes = int(told.get("classes", 10))
        self._noise = float(told.get("noise", 0.01))
        self._latency_ns = float(told.get("latency_ns", 100_000 + len(onnx))) * batch / threads
        self._random = np.random.RandomState([number, int(hashlib.sha256(onnx).hexdigest()[:8], 16)])

    def run(self) -> None:
        factor = 1.0 + self._noise * self._random.standard_exponential()
        self._last_ns = max(1, round(self._latency_ns * factor))
        self._backend.advance(self._last_ns)

    def parts_ns(self) -> Tuple[int, ...]:
        return tuple(round(self._shares[name] * self._last_ns) for name in self.parts)

    def infer(self, batch: np.ndarray) -> np.ndarray:
        self.run()
        return np.zeros((len(batch), self._classes), dtype=np.float32)

    def close(self) -> None:
        return


def _told(onnx: bytes) -> Dict[str, Any]:
    try:
        told = json.loads(onnx)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
