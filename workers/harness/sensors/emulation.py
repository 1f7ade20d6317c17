"""Whether this process runs on a processor that another one emulates: then its latencies say nothing."""

from __future__ import annotations

import platform
import re
from typing import Optional

from ..files import Files

FAMILIES = {
    "x86": r"x86_64|amd64|i[3-6]86",
    "arm": r"aarch64|arm64|arm.*",
    "riscv": r"riscv.*",
    "power": r"ppc.*|powerpc.*",
    "s390": r"s390.*",
}
"""Architectures whose members a kernel runs natively beside each other, such as 32-bit programs on a 64-bit kernel."""
X86_ONLY = ("vendor_id", "cpu family", "bogomips")
"""Lines of /proc/cpuinfo that only x86 kernels write in this form; older emulators show the host's file."""


def emulated_on(files: Files, *, machine: Optional[str] = None) -> Optional[str]:
    """Name the real processor's architecture if it is not the one that this program was built for, else None.

    An emulator of single programs (qemu-user, Rosetta, FEX) translates what uname() says, but not the kernel's
    /proc/sys/kernel/arch (Linux 6.1 and later), nor, with older kernels, the lines of an x86 /proc/cpuinfo.
    """
    own = _family(machine or platform.machine())
    kernel = files.text("/proc/sys/kernel/arch")
    if kernel is None and own != "x86":
        lines = (files.text("/proc/cpuinfo") or "").splitlines()
        keys = {line.partition(":")[0].strip() for line in lines}
        if all(key in keys for key in X86_ONLY):
            kernel = "x86_64"
    if kernel is None or own is None or _family(kernel) in (own, None):
        return None
    return kernel


def _family(machine: str) -> Optional[str]:
    matches = (family for family, names in FAMILIES.items() if re.fullmatch(names, machine.lower()))
    return next(matches, None)
