"""Which other processes keep the processors busy, from the counters in /proc."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

WORTH_NAMING = 0.02
"""Processors that a process keeps busy, below which it disturbs nobody."""


@dataclass(frozen=True)
class Neighbour:
    """A process of somebody else, and how many processors it kept busy."""

    pid: int
    name: str
    cpus: float


@dataclass(frozen=True)
class _Seen:
    name: str
    parent: int
    started: int
    busy_s: float


class Neighbours:
    """Watches all processes but our own, from its making to `busiest`."""

    def __init__(self, root: str = "/") -> None:
        self._proc = Path(root) / "proc"
        self._before = self._read()
        self._at_s = time.monotonic()

    def busiest(self, most: int = 5) -> list[Neighbour]:
        """Return those that lived all the time and kept the processors busiest."""
        after, seconds = self._read(), max(time.monotonic() - self._at_s, 1e-3)
        found = [
            Neighbour(pid, seen.name, round((seen.busy_s - self._before[pid].busy_s) / seconds, 3))
            for pid, seen in after.items()
            if pid in self._before and self._before[pid].started == seen.started and not _is_ours(pid, after)
        ]
        busy = [one for one in found if one.cpus >= WORTH_NAMING]
        return sorted(busy, key=lambda one: -one.cpus)[:most]

    def _read(self) -> dict[int, _Seen]:
        found = {}
        for folder in self._proc.glob("[0-9]*"):
            try:
                text = (folder / "stat").read_text(errors="replace")
            except OSError:  # it has ended meanwhile
                continue
            # The name stands in brackets and may hold spaces and brackets itself.
            name, _, rest = text.partition("(")[2].rpartition(")")
            fields = rest.split()
            ticks = os.sysconf("SC_CLK_TCK")
            found[int(folder.name)] = _Seen(
                name, int(fields[1]), int(fields[19]), (int(fields[11]) + int(fields[12])) / ticks
            )
        return found


def _is_ours(pid: int, processes: dict[int, _Seen]) -> bool:
    while pid in processes:
        if pid == os.getpid():
            return True
        pid = processes[pid].parent
    return False
