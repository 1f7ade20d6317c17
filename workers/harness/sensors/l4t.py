"""Which Jetson this is: its Linux for Tegra (L4T), its JetPack and its chip."""

from __future__ import annotations

import re
from typing import NamedTuple, Optional, Tuple

from ..files import Files

JETPACKS: Tuple[Tuple[Tuple[int, ...], str], ...] = (
    ((35, 1), "5.0.2"),
    ((35, 2), "5.1"),
    ((36, 3), "6.0"),
    ((36, 4, 0), "6.1"),
    ((36, 4, 3), "6.2"),
    ((36, 4, 4), "6.2.1"),
    ((36, 5), "6.2.2"),
    ((38, 2), "7.0"),
    ((38, 4), "7.1"),
    ((39, 2), "7.2"),
)
"""The first L4T release of each JetPack, ascending. Within a major release a newer L4T counts to the last row."""


class L4t(NamedTuple):
    """`release` such as "36.4.3"; `jetpack` is None for releases older or newer than our table."""

    release: str
    jetpack: Optional[str]


def chip(files: Files) -> Optional[str]:
    """Name the chip of a Jetson, such as tegra234, from the device tree; None on every other machine."""
    compatible = files.text("/proc/device-tree/compatible") or ""
    found = re.search(r"nvidia,(tegra\d+)", compatible)
    return found.group(1) if found else None


def release(files: Files) -> Optional[L4t]:
    """Read the release from /etc/nv_tegra_release, whose first line is `# R36 (release), REVISION: 4.3, ...`."""
    text = files.text("/etc/nv_tegra_release") or ""
    found = re.search(r"R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)", text)
    if not found:
        return None
    version = found.group(1) + "." + found.group(2)
    return L4t(version, _jetpack(tuple(int(part) for part in version.split("."))))


def _jetpack(version: Tuple[int, ...]) -> Optional[str]:
    name = None
    for first, jetpack in JETPACKS:
        if first[0] == version[0] and first <= version:
            name = jetpack
    return name
