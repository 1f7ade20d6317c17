"""What a runtime must offer to be timed: two small contracts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Collection, Dict, Optional, Protocol, Tuple

import numpy as np

from ..errors import HarnessError

PARTS = ("device", "enqueue", "to_device", "from_device")
"""What can be known of one inference besides the time that the host waits for it: the device's own computing time, the
time until the work was handed to it, and copying in and out. A runtime on the CPU knows none of them."""


@dataclass(frozen=True)
class Options:
    """What loading a network may depend on besides its shape.

    `settings` are those of the condition, such as {"cuda_graph": True}; a backend refuses names that it does not know.
    `calibration` holds normalised images, float32 (n, C, H, W), for precisions that must look at some. `cache` is a
    folder that outlives the process, for what a backend alone wrote and reads.
    """

    settings: Dict[str, Any] = field(default_factory=dict)
    calibration: Optional[np.ndarray] = None
    cache: Optional[Path] = None


def check_settings(backend: str, settings: Dict[str, Any], known: Dict[str, type]) -> None:
    """Raise HarnessError (`bad_input`) for a setting that the backend does not know, or a value of another type."""
    for name, value in settings.items():
        if name not in known:
            raise HarnessError(
                "bad_input",
                "%s has no setting %r; it has: %s" % (backend, name, ", ".join(sorted(known)) or "none"),
                value=name,
                remedy="Leave it out, or correct its name.",
            )
        if type(value) is not known[name]:
            raise HarnessError(
                "bad_input",
                "the setting %s of %s is %r, which is no %s" % (name, backend, value, known[name].__name__),
                value=value,
                remedy="Give a value of that type.",
            )


class Session(Protocol):
    """One loaded network with its input bound and its output allocated.

    `parts` names those of PARTS that it knows. `facts` is what came out at loading, such as the size of an engine, as
    JSON values; it is stored and never compared.
    """

    parts: Tuple[str, ...]
    facts: Dict[str, Any]

    def run(self) -> None:
        """Do one inference on the bound input and return when it is finished; this is all that is timed.

        Loading has done none yet: the first call is the network's first inference.
        """

    def parts_ns(self) -> Tuple[int, ...]:
        """Return what the last run spent on each of `parts`, in nanoseconds; called outside of what is timed."""

    def infer(self, batch: np.ndarray) -> np.ndarray:
        """Run a full batch, float32 (batch, C, H, W), and return the float32 output (batch, classes)."""

    def close(self) -> None:
        """Give back memory and threads."""


class Backend(Protocol):
    """A runtime. Only its own file imports it; making one raises ImportError where the runtime is not installed, and
    HarnessError where its hardware is missing.

    `max_opset` is the highest opset that it reads.
    """

    name: str
    version: str
    precisions: Tuple[str, ...]
    max_opset: int

    @property
    def settings(self) -> Collection[str]:
        """Name the settings that `load` takes in its options."""

    def clock(self) -> int:
        """Return monotonic nanoseconds, the clock against which this backend's runs are timed."""

    def flags(self) -> Dict[str, Any]:
        """Return the settings of the runtime that change latency; they are part of the conditions."""

    def hardware(self) -> Dict[str, Any]:
        """Return what only the runtime knows of the hardware and must be equal to compare, over what the host says.

        Such as {"device_model": "NVIDIA L4", "driver": "580.65"}; nothing for a runtime on the CPU.
        """

    def load(
        self,
        onnx: bytes,
        *,
        shape: Tuple[int, ...],
        threads: int,
        precision: str,
        data: np.ndarray,
        options: Options,
    ) -> Session:
        """Load a network from ONNX bytes for inputs of exactly `shape` (batch, C, H, W), and bind `data` to it.

        Raises HarnessError with code `parse_rejected`, `oom` or `bad_input`.
        """
