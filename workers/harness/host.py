"""What the operating system tells about the machine; every file is read below an injectable root."""

from __future__ import annotations

import math
import os
import platform
import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
MAX_TRIP_POINTS = 16
_PROCESSOR_ZONE = re.compile(r"cpu|gpu|soc|pkg|core|tj|cv", re.IGNORECASE)


class CpuTimes(NamedTuple):
    """Seconds since boot that processors spent working, and that the hypervisor withheld."""

    busy_s: float
    steal_s: float


class CpuLimit(NamedTuple):
    """How many threads may run at once, and what says so."""

    threads: int
    origin: str


class Host:
    """Reads /proc, /sys and /etc below `root`. What cannot be read is None, never an error."""

    def __init__(self, root: str = "/", *, cpus: Optional[Sequence[int]] = None) -> None:
        self.root = root
        self._root = Path(root)
        self.cpus = sorted(os.sched_getaffinity(0) if cpus is None else cpus)

    def read(self, path: str) -> Optional[str]:
        """Return a small file's text without surrounding space."""
        try:
            return (self._root / path.lstrip("/")).read_text(errors="replace").strip()
        except OSError:
            return None

    def cpu_model(self) -> str:
        """Name the hardware as the kernel does: a board by its device tree, else the processor, else the architecture.

        The processors of all Jetson boards are called "ARMv8 Processor rev 1 (v8l)".
        """
        board = (self.read("/proc/device-tree/model") or "").strip("\0")
        if board:
            return board
        for line in (self.read("/proc/cpuinfo") or "").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "Hardware") and value.strip():
                return value.strip()
        return platform.machine()

    def microcode(self) -> Optional[str]:
        found = re.search(r"^microcode\s*:\s*(\S+)", self.read("/proc/cpuinfo") or "", re.MULTILINE)
        return found.group(1) if found else None

    def cpu_count(self) -> int:
        """Count the processors that the kernel has online, whoever may use them."""
        lines = (self.read("/proc/stat") or "").splitlines()
        return sum(1 for line in lines if re.match(r"cpu\d", line)) or len(self.cpus)

    def memory_bytes(self) -> Optional[int]:
        found = re.search(r"^MemTotal:\s+(\d+) kB", self.read("/proc/meminfo") or "", re.MULTILINE)
        return int(found.group(1)) * 1024 if found else None

    def operating_system(self) -> str:
        found = re.search(r'^PRETTY_NAME="?([^"\n]+)', self.read("/etc/os-release") or "", re.MULTILINE)
        return found.group(1) if found else platform.system()

    def clock_policy(self) -> Dict[str, Optional[str]]:
        """Return governor and boost of the processors; `unknown` where the machine (such as a guest) does not say."""
        cpufreq = "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor"
        governors = {self.read(cpufreq % cpu) for cpu in self.cpus} - {None}
        boost = self.read("/sys/devices/system/cpu/cpufreq/boost")
        no_turbo = self.read("/sys/devices/system/cpu/intel_pstate/no_turbo")
        if boost is None and no_turbo is not None:
            boost = "0" if no_turbo == "1" else "1"
        return {"governor": "+".join(sorted(str(g) for g in governors)) or "unknown", "boost": boost or "unknown"}

    def frequencies_mhz(self) -> List[int]:
        current = "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq"
        found = [self.read(current % cpu) for cpu in self.cpus]
        return [int(text) // 1000 for text in found if text and text.isdigit()]

    def temperatures_c(self) -> Dict[str, float]:
        """Return what the thermal zones show, in degrees Celsius, by their number and type."""
        found = {name: _celsius(self.read(folder + "/temp")) for name, folder in self._zones().items()}
        return {name: value for name, value in found.items() if value is not None}

    def passive_limits_c(self) -> Dict[str, float]:
        """Return at which temperature the kernel begins to lower clocks, of the zones that say so."""
        limits: Dict[str, float] = {}
        for name, folder in self._zones().items():
            for point in range(MAX_TRIP_POINTS):
                kind = self.read("%s/trip_point_%d_type" % (folder, point))
                if kind is None:
                    break
                limit = _celsius(self.read("%s/trip_point_%d_temp" % (folder, point)))
                if kind == "passive" and limit is not None and limit > 0:
                    limits[name] = min(limit, limits.get(name, limit))
        return limits

    def load_average(self) -> Optional[float]:
        text = self.read("/proc/loadavg")
        return float(text.split()[0]) if text else None

    def cpu_stall_s(self) -> Optional[float]:
        """Return the seconds since boot in which some task waited for a processor.

        Of this process's control group where it counts them (version 2), else of the whole machine.
        """
        folders = [folder + "/cpu.pressure" for folder in self.cgroup_folders()[:1]]
        for path in [*folders, "/proc/pressure/cpu"]:
            found = re.search(r"^some .*total=(\d+)", self.read(path) or "", re.MULTILINE)
            if found:
                return int(found.group(1)) / 1e6
        return None

    def cpu_times(self) -> Optional[CpuTimes]:
        """Sum over the processors that this process may use: load elsewhere on a large machine does not count."""
        busy = steal = 0
        seen = False
        for line in (self.read("/proc/stat") or "").splitlines():
            fields = line.split()
            if not fields or not re.match(r"cpu\d+$", fields[0]) or int(fields[0][3:]) not in self.cpus:
                continue
            seen = True
            user, nice, system, _idle, _iowait, irq, softirq = (int(f) for f in fields[1:8])
            busy += user + nice + system + irq + softirq
            steal += int(fields[8]) if len(fields) > 8 else 0
        return CpuTimes(busy / CLOCK_TICKS, steal / CLOCK_TICKS) if seen else None

    def throttled_periods(self) -> Optional[int]:
        """Count the periods in which this process's control groups were out of quota (cgroup v1 and v2)."""
        counts = []
        for folder in self.cgroup_folders():
            found = re.search(r"^nr_throttled (\d+)", self.read(folder + "/cpu.stat") or "", re.MULTILINE)
            if found:
                counts.append(int(found.group(1)))
        return sum(counts) if counts else None

    def quota_cpus(self) -> Optional[Tuple[float, str]]:
        """Return the smallest CPU quota of this process's control groups, in processors, and the file that sets it."""
        quotas = []
        for folder in self.cgroup_folders():
            v2 = (self.read(folder + "/cpu.max") or "").split()
            v1 = self.read(folder + "/cpu.cfs_quota_us")
            period = self.read(folder + "/cpu.cfs_period_us")
            if len(v2) == 2 and v2[0].isdigit():
                quotas.append((int(v2[0]) / int(v2[1]), folder + "/cpu.max"))
            elif v1 and v1.isdigit() and period and period.isdigit():
                quotas.append((int(v1) / int(period), folder + "/cpu.cfs_quota_us"))
        return min(quotas) if quotas else None

    def cpu_limit(self) -> CpuLimit:
        """Say how many threads may run at once: the affinity mask and the control group's quota, whichever is less."""
        quota = self.quota_cpus()
        if quota is not None and quota[0] < len(self.cpus):
            return CpuLimit(max(1, math.floor(quota[0])), "the CPU quota of %g in %s" % quota)
        return CpuLimit(len(self.cpus), "the %d processors that this process may use" % len(self.cpus))

    def _zones(self) -> Dict[str, str]:
        found = {}
        for folder in sorted((self._root / "sys/class/thermal").glob("thermal_zone*")):
            path = str(folder.relative_to(self._root))
            kind = self.read(path + "/type") or ""
            if is_processor_zone(kind):
                found[folder.name[len("thermal_zone") :] + " " + kind] = path
        return found

    def cgroup_folders(self, controller: str = "cpu") -> List[str]:
        """Folders of this process's control group of a controller and its parents, innermost first.

        In a container the paths of /proc/self/cgroup may be the host's; then only the mounted root is found, which is
        the container's own.
        """
        folders = []
        for line in (self.read("/proc/self/cgroup") or "").splitlines():
            number, controllers, path = (line.split(":", 2) + ["", ""])[:3]
            if number == "0" and not controllers:
                mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            elif controller in controllers.split(","):
                mounts = ["/sys/fs/cgroup/" + controllers, "/sys/fs/cgroup/" + controller]
            else:
                continue
            mount = next((m for m in mounts if self.read(m + "/cgroup.procs") is not None), mounts[0])
            parts = [part for part in path.split("/") if part]
            folders += ["/".join([mount] + parts[:depth]) for depth in range(len(parts), -1, -1)]
        return folders


def is_processor_zone(kind: str) -> bool:
    """Say whether a thermal zone is of a chip that computes, by its type; batteries and radios have zones too."""
    return _PROCESSOR_ZONE.search(kind) is not None


def _celsius(text: Optional[str]) -> Optional[float]:
    return int(text) / 1000 if text and text.lstrip("-").isdigit() else None
