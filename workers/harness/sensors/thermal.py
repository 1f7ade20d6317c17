"""Processors: how often heat throttled them, their clocks and the temperature zones.

Paths and meanings: the kernel's Documentation/ABI/testing/sysfs-devices-system-cpu (thermal_throttle),
Documentation/admin-guide/pm/cpufreq.rst and Documentation/driver-api/thermal/sysfs-api.rst.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from ..files import Files
from .base import User, readable

CPU = "/sys/devices/system/cpu/cpu%d/"
LEAST_SHARE_OF_FIXED = 0.95
"""`clock_drop`: fixed processors run below this share of the clock that they are fixed to. Measured clocks
(cpuinfo_cur_freq) of a healthy processor scatter by about 1 %."""


class Clocks(NamedTuple):
    """What the processors run at now, in MHz, and the file that said so."""

    mhz: List[int]
    origin: str


def processor_clocks(files: Files, cpus: Sequence[int]) -> Optional[Clocks]:
    """Read the processors' clocks: measured by the hardware if that can be read, else what the kernel asked for.

    The two differ when firmware throttles: scaling_cur_freq then shows what is wished, not what is.
    """
    for origin in ("cpuinfo_cur_freq", "scaling_cur_freq"):
        found = [files.number(CPU % cpu + "cpufreq/" + origin) for cpu in cpus]
        mhz = [khz // 1000 for khz in found if khz]
        if mhz:
            return Clocks(mhz, origin)
    return None


def fixed_processor_mhz(files: Files, cpus: Sequence[int]) -> Optional[int]:
    """Return the one clock that all these processors are fixed to, in MHz; None if they may choose."""
    limits = {
        files.number(CPU % cpu + "cpufreq/" + name) for cpu in cpus for name in ("scaling_min_freq", "scaling_max_freq")
    }
    khz = limits.pop() if len(limits) == 1 else None
    return khz // 1000 if khz else None


def temperatures_c(files: Files) -> Dict[str, float]:
    """Read all thermal zones by their type, in degrees Celsius; zones that are switched off are left out."""
    found = {}
    for zone in files.find("/sys/class/thermal/thermal_zone*"):
        value = files.number(zone + "/temp")
        # Zones of parts without power say nothing, or -256 degrees.
        if value is not None and value > -100_000:
            found[files.text(zone + "/type") or zone.rsplit("/", 1)[1]] = value / 1000
    return found


class ProcessorSensor:
    """Throttle counters of x86 processors, and clocks and temperatures of any."""

    name = "cpu"

    def __init__(self, files: Files, cpus: Sequence[int]) -> None:
        self._files = files
        self._cpus = cpus

    def policy(self) -> Dict[str, Any]:
        return readable({"fixed_mhz": fixed_processor_mhz(self._files, self._cpus)})

    def read(self) -> Dict[str, Any]:
        clocks = processor_clocks(self._files, self._cpus)
        return readable(
            {
                "throttle_events": self._throttle_events(),
                "mhz": clocks and clocks.mhz,
                "mhz_from": clocks and clocks.origin,
                "temperatures_c": temperatures_c(self._files),
            }
        )

    def judge(self, before: Dict[str, Any], after: Dict[str, Any]) -> List[str]:
        flags = []
        counted = before.get("throttle_events", {})
        if any(count > counted.get(name, count) for name, count in after.get("throttle_events", {}).items()):
            flags.append("throttled")
        fixed = fixed_processor_mhz(self._files, self._cpus)
        if fixed and after.get("mhz") and max(after["mhz"]) < LEAST_SHARE_OF_FIXED * fixed:
            flags.append("clock_drop")
        return flags

    def users(self) -> List[User]:
        return []

    def _throttle_events(self) -> Dict[str, int]:
        found = {}
        for part in ("core", "package"):
            counts = [self._files.number(CPU % cpu + "thermal_throttle/%s_throttle_count" % part) for cpu in self._cpus]
            known = [count for count in counts if count is not None]
            if known:
                found[part] = sum(known)
        return found
