"""How much memory a process and everything that it started take, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def tree_bytes(root: int, *, proc: Path = PROC) -> int | None:
    """Return the memory of `root` and all its descendants in bytes; None where there is no /proc.

    Shared pages are divided among those who share them (PSS), so that a forked child is not counted as a copy.
    """
    parents = {int(entry.name): _parent(entry) for entry in proc.glob("[0-9]*")} if proc.is_dir() else {}
    if root not in parents:
        return None
    family = {root}
    grown = True
    while grown:
        children = {pid for pid, parent in parents.items() if parent in family} - family
        family |= children
        grown = bool(children)
    return sum(_own_bytes(proc / str(pid)) for pid in family)


def _parent(process: Path) -> int:
    try:
        # The name stands in parentheses and may itself hold spaces and parentheses.
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _own_bytes(process: Path) -> int:
    try:
        for line in (process / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
