"""Memory: whether networks can fit before anything is loaded, and what loading one took."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple, Optional, Sequence

from .errors import HarnessError
from .host import Host

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Available(NamedTuple):
    """Bytes that this process may still take, and what says so."""

    bytes: int
    origin: str


class Watermark:
    """The most memory that this process holds from now on, over what it holds now."""

    def __init__(self) -> None:
        self._before = _status_bytes("VmRSS") or 0
        try:
            _CLEAR.write_text("5")
            self.is_peak = True
            """Whether what is freed again meanwhile is counted; not every kernel resets its own high-water mark."""
        except OSError:
            self.is_peak = False

    def grown_bytes(self) -> Optional[int]:
        """Return by how much memory grew, at its highest if the kernel tells; None where it says nothing."""
        now = _status_bytes("VmHWM" if self.is_peak else "VmRSS")
        return None if now is None else max(0, now - self._before)


def available(host: Host) -> Optional[Available]:
    """Return what the machine and this process's control groups leave, whichever is less; None if neither tells."""
    found = []
    text = re.search(r"^MemAvailable:\s+(\d+) kB", host.read("/proc/meminfo") or "", re.MULTILINE)
    if text:
        found.append(Available(int(text.group(1)) * 1024, "MemAvailable in /proc/meminfo"))
    for folder in host.cgroup_folders("memory"):
        for limit_name, usage_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, usage = host.read(folder + "/" + limit_name), host.read(folder + "/" + usage_name)
            if limit and usage and limit.isdigit() and usage.isdigit():
                found.append(Available(max(0, int(limit) - int(usage)), "the limit in %s/%s" % (folder, limit_name)))
    return min(found) if found else None


def check_fits(host: Host, networks: Sequence[Path]) -> None:
    """Raise HarnessError (`oom`) if networks cannot fit together: their files, and one of them again while it is read.

    A runtime holds at least the weights, which make up nearly all of a file.
    """
    sizes = [path.stat().st_size for path in networks]
    needed, limit = sum(sizes) + max(sizes), available(host)
    if limit is None or needed <= limit.bytes:
        return
    raise HarnessError(
        "oom",
        "%s of %d MB cannot fit into the %d MB of memory that are left (%s)"
        % (
            "a network" if len(sizes) == 1 else "%d networks together" % len(sizes),
            sum(sizes) // 2**20,
            limit.bytes // 2**20,
            limit.origin,
        ),
        value=needed,
        remedy="Measure on a device with more memory, or free some.",
    )


def _status_bytes(name: str) -> Optional[int]:
    try:
        found = re.search(r"^%s:\s+(\d+) kB" % name, _STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) * 1024 if found else None
