"""What a sweep may cost: which untrained architectures are timed when the device's time is limited, pure functions.

Candidates and edits come in *ladders*, such as one layer group cut to several widths. When not everything can be timed,
every ladder loses its finest rungs first, so that what is left still spans the same range.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from layerprune.api.tasks import Candidate, Edit

PROBE = 6
"""Architectures, one group, that are timed first to learn what one costs, where that matters."""
_SLOWEST_MACS_PER_S = 1e9
"""A device that anybody deploys to is faster than this with one thread, float32 and batch 1."""
_RUNS = 24
"""Inferences of one architecture in a sweep when one takes longer than a block; see workers/tasks/sweep.py."""
_OVERHEAD_S = 1.0
"""Loading, warming up and short blocks, per architecture; the base and its control are shared by a group."""
_CONTROLS = (PROBE + 2) / PROBE
_KIND = {"layer": 0, "channels": 1, "filter_aligned": 2, "hybrid": 2, "filter": 3}
Rank = tuple[int, int]


def surely_takes_s(count: int, *, macs: int, batch_size: int) -> float:
    """An upper bound of the seconds that timing `count` networks of at most `macs` MACs takes."""
    return count * _CONTROLS * (_OVERHEAD_S + _RUNS * macs * batch_size / _SLOWEST_MACS_PER_S)


def affordable(seconds: float, *, each_s: float, count: int) -> int:
    """How many of `count` architectures can be timed in so many seconds."""
    return count if each_s * count <= seconds else max(0, int(seconds / each_s))


def by_usefulness(architectures: Sequence[str], candidates: Iterable[Candidate], edits: Iterable[Edit]) -> list[str]:
    """Order architectures, the most useful first: single layers, then every ladder from its middle rung outwards."""
    ladders: dict[tuple[object, ...], list[tuple[float, str]]] = {}
    ranks: dict[str, Rank] = {}
    for edit in edits:
        if edit.kind == "layer":
            ranks[edit.architecture] = (-1, 0)
        else:
            ladders.setdefault(("channels", edit.target), []).append((edit.kept, edit.architecture))
    for candidate in candidates:
        cell = (candidate.family, candidate.criterion, candidate.alignment, candidate.scope)
        ladders.setdefault(cell, []).append((candidate.amount, candidate.architecture))
    for ladder, rungs in ladders.items():
        for (_, architecture), level in zip(sorted(rungs), bisection_levels(len(rungs)), strict=True):
            rank = (level, _KIND[str(ladder[0])])
            ranks[architecture] = min(rank, ranks.get(architecture, rank))
    last = (len(architectures), 0)
    return sorted(architectures, key=lambda architecture: ranks.get(architecture, last))


def bisection_levels(count: int) -> list[int]:
    """At which halving each of `count` rungs is met: the middle is 0, the middles of both halves are 1, and so on."""
    levels = [0] * count

    def halve(low: int, high: int, level: int) -> None:
        if low < high:
            middle = (low + high) // 2
            levels[middle] = level
            halve(low, middle, level + 1)
            halve(middle + 1, high, level + 1)

    halve(0, count, 0)
    return levels
