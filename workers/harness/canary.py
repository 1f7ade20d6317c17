"""The canary: one small fixed network that every measuring process times before and after everything else.

What it takes says whether the device is as fast as it used to be, whatever a job measures. The server keeps its
history.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Dict, List, Optional

import numpy as np

from .backends.base import Backend, Options, Session
from .errors import HarnessError

NETWORK = Path(__file__).with_name("canary.onnx")
"""Six convolutions with ReLU, 16 channels at 32 x 32, 10 million MACs, opset 11; a test makes the same bytes again."""
SHAPE = (1, 3, 32, 32)
DURATION_NS = 200_000_000
MIN_RUNS = 20
MAX_RUNS = 5000


class Canary:
    """The network, loaded; a runtime that cannot load it has no canary and loses nothing else."""

    def __init__(self, backend: Backend, *, threads: int, cache: Optional[Path] = None) -> None:
        self._clock = backend.clock
        self._session: Optional[Session] = None
        self._medians: List[int] = []
        self._runs = 0
        data = np.random.RandomState(0).standard_normal(SHAPE).astype(np.float32)
        with suppress(HarnessError):
            self._session = backend.load(
                NETWORK.read_bytes(),
                shape=SHAPE,
                threads=threads,
                precision="fp32" if "fp32" in backend.precisions else backend.precisions[0],
                data=data,
                options=Options(cache=cache),
            )

    def time(self) -> None:
        """Run it for 0.2 s, at least 20 times, and keep the median of the last three quarters."""
        if self._session is None:
            return
        run, clock = self._session.run, self._clock
        times: List[int] = []
        began = clock()
        while len(times) < MAX_RUNS and (len(times) < MIN_RUNS or clock() - began < DURATION_NS):
            start = clock()
            run()
            times.append(clock() - start)
        self._runs += len(times)
        self._medians.append(max(1, int(np.median(times[len(times) // 4 :]))))

    def result(self) -> Optional[Dict[str, int]]:
        """Return the medians of the first and the last time, in nanoseconds, and close it; None without one."""
        if self._session is None:
            return None
        self._session.close()
        self._session = None
        return {"start_ns": self._medians[0], "end_ns": self._medians[-1], "runs": self._runs}
