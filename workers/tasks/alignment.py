"""Which layer of a variant is which layer of its base: by order and shape, because exporters number names anew.

The cheapest way to turn the base's layers into the variant's, in order (Needleman and Wunsch, 1970): a layer goes, or
keeps its kind and resolution and loses channels. Among layers that are alike, a common name decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .harness import Event

GONE, ADDED = 1.0, 3.0
NARROWER, RENAMED = 0.5, 0.05
Pair = tuple[Event | None, Event | None]


def align(base: Sequence[Event], variant: Sequence[Event]) -> list[Pair]:
    """Pair the layers (see workers.harness.attribution) in order; None where one of the two has no such layer."""
    n, m = len(base), len(variant)
    cost = [[j * ADDED for j in range(m + 1)]] + [[i * GONE] + [math.inf] * m for i in range(1, n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            cost[i][j] = min(
                cost[i - 1][j - 1] + _change(base[i - 1], variant[j - 1]), cost[i - 1][j] + GONE, cost[i][j - 1] + ADDED
            )
    pairs: list[Pair] = []
    i, j = n, m
    while i or j:
        if i and j and cost[i][j] == cost[i - 1][j - 1] + _change(base[i - 1], variant[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((base[i], variant[j]))
        elif i and cost[i][j] == cost[i - 1][j] + GONE:
            i -= 1
            pairs.append((base[i], None))
        else:
            j -= 1
            pairs.append((None, variant[j]))
    return pairs[::-1]


def _change(ours: Event, theirs: Event) -> float:
    """What it costs to take one layer for the other."""
    if _kind(ours) != _kind(theirs):
        return math.inf
    kept: float = math.prod(
        min(ours[side], theirs[side]) / max(ours[side], theirs[side]) for side in ("in_channels", "out_channels")
    )
    same_name = ours["name"] == theirs["name"] or ours["weight"] == theirs["weight"]
    return NARROWER * (1 - kept) + (0.0 if same_name else RENAMED)


def _kind(layer: Event) -> tuple[object, ...]:
    per_place = layer["in_channels"] * layer["out_channels"] // layer["groups"] * math.prod(layer["kernel"])
    return (
        layer["op"],
        tuple(layer["kernel"]),
        layer["groups"] > 1,
        round(layer["macs"] / per_place) if per_place else 0,
    )
