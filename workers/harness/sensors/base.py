"""What every sensor offers."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Protocol


class User(NamedTuple):
    """A process that computes on the device; `pid` is None where only root may know it."""

    pid: Optional[int]
    name: str


class Sensor(Protocol):
    """One source of knowledge about the hardware while something is timed. Its values are JSON values."""

    name: str

    def policy(self) -> Dict[str, Any]:
        """Return what must be equal for two latencies to be comparable: power mode, fixed clocks, driver."""

    def read(self) -> Dict[str, Any]:
        """Return counters and gauges as they are now; what cannot be read is left out."""

    def judge(self, before: Dict[str, Any], after: Dict[str, Any]) -> List[str]:
        """Say which flags follow from two readings, one before and one after the timing."""

    def users(self) -> List[User]:
        """Name who else computes on the device; asked before this process does."""


def readable(values: Dict[str, Any]) -> Dict[str, Any]:
    """Leave out what could not be read."""
    return {name: value for name, value in values.items() if value is not None and value not in ({}, [])}
