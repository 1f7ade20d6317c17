"""A Jetson board: power mode, fixed clocks, rails, temperatures, over-current events, cooling, and who uses the GPU.

Everything is read from files of the kernel and of NVIDIA's board support package, described in the Jetson Linux
Developer Guide, "Platform Power and Performance".
"""

from __future__ import annotations

import os
import re
import time
from typing import Any, Callable, Dict, List, Optional, Sequence

from .. import power
from ..files import Files
from ..power import Run
from .base import User, readable
from .l4t import chip, release
from .rails import HWMON, rails_milliwatts
from .thermal import LEAST_SHARE_OF_FIXED, fixed_processor_mhz, processor_clocks, temperatures_c

GPU_NODES = ("*.gpu", "*.ga10b", "*.gv11b", "gpu-gpc-0")
"""Names of the GPU in /sys/class/devfreq: Orin, Orin and Xavier with older kernels, Thor."""
HARMLESS_COOLING = ("fan", "hot-surface")
"""Cooling devices that lower no clock: fans, and the warning that the case is hot to the touch."""
NVMAP = "/sys/kernel/debug/nvmap/iovmm/clients"
BUSY = 0.1
"""A GPU that is busier than this before we use it has another user; drawing a desktop stays below."""
LOOKS, PAUSE_S = 5, 0.04


def is_jetson(files: Files) -> bool:
    """Say whether this machine is a Jetson, also from within a container."""
    return chip(files) is not None


class JetsonSensor:
    """The board as a whole; it matters to what runs on its processors, too."""

    name = "jetson"

    def __init__(
        self,
        files: Files,
        cpus: Sequence[int],
        *,
        run: Optional[Run] = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._files = files
        self._cpus = cpus
        self._run = run
        self._pause = pause
        nodes = [node for pattern in GPU_NODES for node in files.find("/sys/class/devfreq/" + pattern)]
        self._gpu = nodes[0] if nodes else None

    def policy(self) -> Dict[str, Any]:
        mode = power.mode(self._files, self._run)
        system = release(self._files)
        return readable(
            {
                "power_mode": mode and mode.name,
                "jetson_clocks": self.clocks_are_fixed(),
                "chip": chip(self._files),
                "l4t": system and system.release,
                "jetpack": system and system.jetpack,
            }
        )

    def read(self) -> Dict[str, Any]:
        clocks = processor_clocks(self._files, self._cpus)
        return readable(
            {
                "rails_mw": rails_milliwatts(self._files),
                "temperatures_c": temperatures_c(self._files),
                "gpu_mhz": self._gpu_mhz("cur_freq"),
                "gpu_load": self._gpu_load(),
                "cpu_mhz": clocks and clocks.mhz,
                "cpu_mhz_from": clocks and clocks.origin,
                "over_current_events": self._over_current_events(),
                "cooling": self._cooling(),
            }
        )

    def judge(self, before: Dict[str, Any], after: Dict[str, Any]) -> List[str]:
        flags = []
        counted = before.get("over_current_events", {})
        events = after.get("over_current_events", {})
        cooling = list(before.get("cooling", {}).values()) + list(after.get("cooling", {}).values())
        if any(count > counted.get(name, count) for name, count in events.items()) or any(cooling):
            flags.append("throttled")
        if self._runs_below_fixed(after):
            flags.append("clock_drop")
        if self.clocks_are_fixed() is False:
            flags.append("clocks_unlocked")
        return flags

    def users(self) -> List[User]:
        loads = []
        for look in range(LOOKS):
            if look:
                self._pause(PAUSE_S)
            load = self._gpu_load()
            if load is None:
                return []
            loads.append(load)
        return self._gpu_clients() if min(loads) > BUSY else []

    def clocks_are_fixed(self) -> Optional[bool]:
        """Say whether `jetson_clocks` holds GPU and processors at one clock each; None if that cannot be read."""
        low, high = self._gpu_mhz("min_freq"), self._gpu_mhz("max_freq")
        if low is None or high is None:
            return None
        # Groups of processors may have clocks of their own, so each one is looked at alone.
        return low == high and all(fixed_processor_mhz(self._files, [cpu]) for cpu in self._cpus)

    def _runs_below_fixed(self, seen: Dict[str, Any]) -> bool:
        if not self.clocks_are_fixed():
            return False
        gpu, fixed_gpu = seen.get("gpu_mhz"), self._gpu_mhz("max_freq")
        if gpu and fixed_gpu and gpu < LEAST_SHARE_OF_FIXED * fixed_gpu:
            return True
        fixed = [fixed_processor_mhz(self._files, [cpu]) or 0 for cpu in self._cpus]
        return bool(seen.get("cpu_mhz")) and max(seen["cpu_mhz"]) < LEAST_SHARE_OF_FIXED * max(fixed)

    def _gpu_mhz(self, name: str) -> Optional[int]:
        hertz = self._files.number("%s/%s" % (self._gpu, name)) if self._gpu else None
        return None if hertz is None else hertz // 1_000_000

    def _gpu_load(self) -> Optional[float]:
        permille = self._files.number(self._gpu + "/device/load") if self._gpu else None
        return None if permille is None else permille / 1000

    def _over_current_events(self) -> Dict[str, int]:
        """Count under-voltage and over-current events since the system's start; what a number means differs by chip."""
        found = {}
        for monitor in self._files.find(HWMON):
            if self._files.text(monitor + "/name") != "soctherm_oc":
                continue
            for path in self._files.find(monitor + "/oc*_event_cnt"):
                count = self._files.number(path)
                if count is not None:
                    found[path.rsplit("/", 1)[1].split("_")[0]] = count
        return found

    def _cooling(self) -> Dict[str, int]:
        """Read how far each cooling device that lowers clocks does so now; 0 is not at all."""
        found: Dict[str, int] = {}
        for device in self._files.find("/sys/class/thermal/cooling_device*"):
            kind = self._files.text(device + "/type") or device
            state = self._files.number(device + "/cur_state")
            if state is not None and not any(word in kind for word in HARMLESS_COOLING):
                found[kind] = max(state, found.get(kind, 0))
        return found

    def _gpu_clients(self) -> List[User]:
        """Name the processes with GPU memory, as only root may read them."""
        clients = re.findall(r"^\S+\s+(\S+)\s+(\d+)\s+\d+\w?\s*$", self._files.text(NVMAP) or "", re.MULTILINE)
        others = [User(int(pid), name) for name, pid in clients if int(pid) != os.getpid()]
        return others or [User(None, "a process that only root may name")]
