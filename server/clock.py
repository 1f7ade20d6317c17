"""The one clock: microseconds UTC. Tests put their own in its place."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns microseconds since the epoch, UTC."""


def system_clock() -> int:
    return time.time_ns() // 1000
