"""The conditions of a measurement: what must be equal to compare, what was observed, and what is doubtful about it."""

from __future__ import annotations

import platform
import resource
import time
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from .backends.base import Backend
from .errors import HarnessError
from .host import CpuTimes, Host
from .loop import PROTOCOL

MIN_WINDOW_S = 0.5
"""The kernel counts processor time in steps of about 10 ms; in a shorter window a share says nothing."""
FOREIGN_CPUS = 0.1
FOREIGN_SHARE = 0.01
"""`foreign_load`: others kept more than this many processors busy, or this share of all that may be used, if more."""
STEAL_SHARE = 0.01
"""`steal`: the hypervisor withheld more than this share of the window."""


def key(host: Host, backend: Backend, *, precision: str, threads: int, shape: Tuple[int, ...]) -> Dict[str, Any]:
    """Return everything this machine knows that must be equal for two latencies to be comparable."""
    return {
        "protocol": PROTOCOL,
        "device_model": host.cpu_model(),
        "cpus": host.cpu_count(),
        "architecture": platform.machine(),
        "os": host.operating_system(),
        "runtime": backend.name,
        "runtime_version": backend.version,
        "runtime_flags": backend.flags(),
        "precision": precision,
        "threads": threads,
        "clock_policy": host.clock_policy(),
        "batch_size": shape[0],
        "input_shape": list(shape[1:]),
    }


def check_threads(host: Host, threads: int) -> None:
    """Refuse more threads than may run at once: they would wait for each other, and spin while they do."""
    limit = host.cpu_limit()
    if threads > limit.threads:
        raise HarnessError(
            "bad_input",
            "%d threads were asked for, but only %d can run at once here because of %s"
            % (threads, limit.threads, limit.origin),
            value=threads,
            remedy="Ask for at most %d threads, or give the worker more processors." % limit.threads,
        )


@dataclass(frozen=True)
class Snapshot:
    """Counters of the machine and of this process at one moment."""

    at_s: float
    own_s: float
    cpu: Optional[CpuTimes]
    throttled: Optional[int]
    switches: int

    @classmethod
    def take(cls, host: Host) -> Snapshot:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return cls(
            at_s=time.monotonic(),
            own_s=usage.ru_utime + usage.ru_stime,
            cpu=host.cpu_times(),
            throttled=host.throttled_periods(),
            switches=usage.ru_nivcsw,
        )


def observe(host: Host, before: Snapshot, after: Snapshot) -> Dict[str, Any]:
    """Return what was seen between two snapshots, and the state of the machine now; stored, never compared on."""
    window_s = after.at_s - before.at_s
    seen: Dict[str, Any] = {
        "window_s": round(window_s, 3),
        "involuntary_switches": after.switches - before.switches,
        "load_average": host.load_average(),
        "cpu_pressure_percent": host.cpu_pressure(),
        "frequencies_mhz": host.frequencies_mhz(),
        "temperatures_c": host.temperatures_c(),
        "microcode": host.microcode(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "usable_cpus": len(host.cpus),
        "quota_cpus": (host.quota_cpus() or (None,))[0],
        "max_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    if before.throttled is not None and after.throttled is not None:
        seen["throttled_periods"] = after.throttled - before.throttled
    if before.cpu is not None and after.cpu is not None and window_s >= MIN_WINDOW_S:
        others_s = (after.cpu.busy_s - before.cpu.busy_s) - (after.own_s - before.own_s)
        seen["foreign_cpus"] = round(max(0.0, others_s / window_s), 4)
        seen["steal_share"] = round((after.cpu.steal_s - before.cpu.steal_s) / window_s, 4)
    return seen


def flags(seen: Dict[str, Any]) -> List[str]:
    """Derive the flags that follow from what was observed during the timed blocks."""
    found = []
    if seen.get("throttled_periods", 0) > 0:
        found.append("cgroup_throttled")
    if seen.get("steal_share", 0.0) > STEAL_SHARE:
        found.append("steal")
    if seen.get("foreign_cpus", 0.0) > max(FOREIGN_CPUS, FOREIGN_SHARE * seen["usable_cpus"]):
        found.append("foreign_load")
    return found
