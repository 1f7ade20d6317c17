"""The conditions of a measurement: what must be equal to compare, what was observed, and what is doubtful about it."""

from __future__ import annotations

import platform
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from .backends.base import Backend
from .cooling import Cooling, Temperatures, cool_down
from .errors import HarnessError
from .files import Files
from .host import CpuTimes, Host, is_processor_zone
from .kernel_log import KernelLog
from .loop import PROTOCOL
from .sensors import find_sensors
from .sensors.base import Sensor
from .sensors.emulation import emulated_on

MIN_WINDOW_S = 0.5
"""The kernel counts processor time in steps of about 10 ms; in a shorter window a share says nothing."""
FOREIGN_CPUS = 0.1
FOREIGN_SHARE = 0.01
"""`foreign_load`: others kept more than this many processors busy, or this share of all that may be used, if more."""
STEAL_SHARE = 0.01
"""`steal`: the hypervisor withheld more than this share of the window."""
STALL_SHARE = 0.05
"""`pressure`: some task waited for a processor in more than this share of the window."""
SWITCHES_PER_S = 10.0
"""`involuntary_switches`: the kernel took the processor from this process more often than this."""


def key(
    host: Host,
    backend: Backend,
    *,
    precision: str,
    threads: int,
    shape: Tuple[int, ...],
    settings: Optional[Dict[str, Any]] = None,
    policies: Optional[Dict[str, Any]] = None,
) -> Dict[str, Any]:
    """Return everything this machine knows that must be equal for two latencies to be comparable.

    What the runtime knows of the hardware replaces what the host says. `policies` are those of the sensors: power mode,
    fixed clocks, driver, by the sensor's name.
    """
    found: Dict[str, Any] = {
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
        "settings": settings or {},
        "clock_policy": host.clock_policy(),
        "batch_size": shape[0],
        "input_shape": list(shape[1:]),
    }
    if policies:
        found["policies"] = policies
    real = emulated_on(Files(host.root))
    if real is not None:
        found["emulated"] = real
    return {**found, **backend.hardware()}


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
    """Counters of the machine and of this process at one moment; `readings` are the sensors', by name."""

    at_s: float
    own_s: float
    cpu: Optional[CpuTimes]
    throttled: Optional[int]
    switches: int
    stall_s: Optional[float] = None
    readings: Dict[str, Dict[str, Any]] = field(default_factory=dict)


class Watch:
    """Watches the machine: `start` just before the timed blocks, `stop` just after them."""

    def __init__(self, host: Host, sensors: Optional[List[Sensor]] = None) -> None:
        self._host = host
        self._sensors = find_sensors(host.root) if sensors is None else sensors
        self._log = KernelLog(host.root)
        self._cooling = Cooling(0.0, {})
        self._before = self._take()

    def policies(self) -> Dict[str, Any]:
        """Return what the sensors say must be equal to compare; nothing of those that say nothing."""
        found = {sensor.name: sensor.policy() for sensor in self._sensors}
        return {name: policy for name, policy in found.items() if policy}

    def cool_down(self, folder: Path, say: Callable[[float], None]) -> None:
        """Wait until the device is cool enough, or the task's time for that is over; `folder` is the task's."""
        self._cooling = cool_down(self._temperatures, self._host.passive_limits_c(), folder, say=say)

    def start(self) -> None:
        self._log.alarming()
        self._before = self._take()

    def stop(self) -> Dict[str, Any]:
        """Return what was seen since the start, and the state of the machine now; stored, never compared on."""
        after = self._take()
        seen = observe(self._host, self._before, after)
        seen["cooling_s"], seen["hot"] = self._cooling.waited_s, self._cooling.hot
        seen["kernel_log"] = self._log.alarming() if self._log.is_readable else None
        self._log.close()
        raised = {
            flag
            for sensor in self._sensors
            for flag in sensor.judge(self._before.readings[sensor.name], after.readings[sensor.name])
        }
        seen["sensors"] = {"before": self._before.readings, "after": after.readings, "flags": sorted(raised)}
        return seen

    def _take(self) -> Snapshot:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Snapshot(
            at_s=time.monotonic(),
            own_s=usage.ru_utime + usage.ru_stime,
            cpu=self._host.cpu_times(),
            throttled=self._host.throttled_periods(),
            switches=usage.ru_nivcsw,
            stall_s=self._host.cpu_stall_s(),
            readings={sensor.name: sensor.read() for sensor in self._sensors},
        )

    def _temperatures(self) -> Temperatures:
        """What the chips that compute show: thermal zones, and what only a sensor knows, such as a GPU on a card."""
        found = self._host.temperatures_c()
        zones = {name.partition(" ")[2] for name in found}
        for sensor in self._sensors:
            for name, shown in sensor.read().get("temperatures_c", {}).items():
                if name not in zones and is_processor_zone(name):
                    found["%s %s" % (sensor.name, name)] = shown
        return found


def observe(host: Host, before: Snapshot, after: Snapshot) -> Dict[str, Any]:
    """Return what was seen between two snapshots, and the state of the machine now."""
    window_s = after.at_s - before.at_s
    seen: Dict[str, Any] = {
        "window_s": round(window_s, 3),
        "involuntary_switches": after.switches - before.switches,
        "load_average": host.load_average(),
        "frequencies_mhz": host.frequencies_mhz(),
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
    if window_s < MIN_WINDOW_S:
        return seen
    if before.stall_s is not None and after.stall_s is not None:
        seen["stall_share"] = round((after.stall_s - before.stall_s) / window_s, 4)
    if before.cpu is not None and after.cpu is not None:
        others_s = (after.cpu.busy_s - before.cpu.busy_s) - (after.own_s - before.own_s)
        seen["foreign_cpus"] = round(max(0.0, others_s / window_s), 4)
        seen["steal_share"] = round((after.cpu.steal_s - before.cpu.steal_s) / window_s, 4)
    return seen


def flags(seen: Dict[str, Any]) -> List[str]:
    """Derive the flags that follow from what was observed during the timed blocks."""
    raised = {
        "cgroup_throttled": seen.get("throttled_periods", 0) > 0,
        "steal": seen.get("steal_share", 0.0) > STEAL_SHARE,
        "foreign_load": seen.get("foreign_cpus", 0.0) > max(FOREIGN_CPUS, FOREIGN_SHARE * seen["usable_cpus"]),
        "hot_start": bool(seen.get("hot")),
        "kernel_log": bool(seen.get("kernel_log")),
        "pressure": seen.get("stall_share", 0.0) > STALL_SHARE,
        "involuntary_switches": seen["window_s"] >= MIN_WINDOW_S
        and seen["involuntary_switches"] > SWITCHES_PER_S * seen["window_s"],
    }
    found = [name for name, is_raised in raised.items() if is_raised]
    return found + [name for name in seen.get("sensors", {}).get("flags", []) if name not in found]
