"""What a runtime must offer to be timed: two small contracts."""

from __future__ import annotations

from typing import Any, Dict, Protocol, Tuple

import numpy as np


class Session(Protocol):
    """One loaded network with its input bound and its output allocated."""

    def run(self) -> None:
        """Do one inference on the bound input and return when it is finished; this is all that is timed."""

    def infer(self, batch: np.ndarray) -> np.ndarray:
        """Run a full batch, float32 (batch, C, H, W), and return the float32 output (batch, classes)."""

    def close(self) -> None:
        """Give back memory and threads."""


class Backend(Protocol):
    """A runtime. Only its own file imports it."""

    name: str
    version: str
    precisions: Tuple[str, ...]
    max_opset: int

    def clock(self) -> int:
        """Return monotonic nanoseconds, the clock against which this backend's runs are timed."""

    def flags(self) -> Dict[str, Any]:
        """Return the settings of the runtime that change latency; they are part of the conditions."""

    def load(self, onnx: bytes, *, shape: Tuple[int, ...], threads: int, precision: str, data: np.ndarray) -> Session:
        """Load a network from ONNX bytes for inputs of exactly `shape` (batch, C, H, W), and bind `data` to it.

        Raises HarnessError with code `parse_rejected` or `oom`.
        """
