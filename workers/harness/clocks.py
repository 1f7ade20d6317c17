"""Notice a clock that cannot be trusted: three clocks of the kernel must agree about how long the timing took."""

from __future__ import annotations

import time
from typing import Any, Dict, NamedTuple, Optional

MAX_RATE_OFF = 1e-3
"""`clock_jump`: the clock of the timing ran faster or slower than the bare hardware's by more than this share. Time
servers slew it by half of that at most."""
MIN_STEP_S = 1e-3
"""Differences below this come from reading one clock after the other."""


class Clocks(NamedTuple):
    """Nanoseconds of the clock that times, of the hardware's own, and of one that also counts suspension."""

    timing: int
    raw: Optional[int]
    boot: Optional[int]

    @classmethod
    def read(cls) -> Clocks:
        return cls(time.perf_counter_ns(), _read("CLOCK_MONOTONIC_RAW"), _read("CLOCK_BOOTTIME"))


def observe_clocks(before: Clocks, after: Clocks) -> Dict[str, Any]:
    """Return by how many seconds the clocks disagree about the time between two readings, and whether that is a jump.

    `adjusted_s` is how much the timing clock gained on the hardware's, `suspended_s` how long the machine slept.
    """
    elapsed_s = (after.timing - before.timing) / 1e9
    seen: Dict[str, Any] = {}
    if before.raw is not None and after.raw is not None:
        seen["adjusted_s"] = round(elapsed_s - (after.raw - before.raw) / 1e9, 6)
    if before.boot is not None and after.boot is not None:
        seen["suspended_s"] = round((after.boot - before.boot) / 1e9 - elapsed_s, 6)
    limit_s = max(MIN_STEP_S, MAX_RATE_OFF * abs(elapsed_s))
    seen["jumped"] = elapsed_s < 0 or any(abs(off_s) > limit_s for off_s in seen.values())
    return seen


def _read(name: str) -> Optional[int]:
    number = getattr(time, name, None)
    if number is None:
        return None
    try:
        return time.clock_gettime_ns(number)
    except OSError:
        return None
