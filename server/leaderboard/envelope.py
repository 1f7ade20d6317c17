"""A family's front as validation accuracy draws it, and what stands for the family at any latency.

Between two plans the front is linear: answering a share of the images with one network and the rest with the other has
that mean latency and that mean accuracy, so every point of it can be had. Plans are chosen by validation accuracy, what
is compared afterwards is their test accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .contenders import Entrant


@dataclass(frozen=True, eq=False)
class Stand:
    """One plan, or a mixture of two whose shares add up to 1."""

    parts: tuple[tuple[Entrant, float], ...]

    @property
    def ratio(self) -> float:
        """Mean latency as a ratio of the base's."""
        return sum(share * entrant.typical.ratio.value for entrant, share in self.parts)

    @property
    def is_interpolated(self) -> bool:
        return len(self.parts) > 1


@dataclass(frozen=True, eq=False)
class Front:
    """The upper concave envelope of a group's plans, the fastest first; `slowest` is the highest ratio of any plan."""

    vertices: tuple[Entrant, ...]
    slowest: float

    def at(self, ratio: float) -> Stand | None:
        """Return the best that takes no longer than `ratio`; None unless there are plans on both sides of it."""
        if not self.vertices or not self.vertices[0].typical.ratio.value <= ratio <= self.slowest:
            return None
        faster = [vertex for vertex in self.vertices if vertex.typical.ratio.value <= ratio]
        low, others = faster[-1], self.vertices[len(faster) :]
        if not others or low.typical.ratio.value == ratio:
            return alone(low)
        span = others[0].typical.ratio.value - low.typical.ratio.value
        share = (ratio - low.typical.ratio.value) / span
        return Stand(((low, 1 - share), (others[0], share)))


def alone(entrant: Entrant) -> Stand:
    """Let one plan stand for itself."""
    return Stand(((entrant, 1.0),))


def front(entrants: Sequence[Entrant], base: Entrant | None) -> Front:
    """Draw the envelope of the stable plans; `base` is its slow end for pruned families, which contain the base."""
    stable = [entrant for entrant in entrants if entrant.is_stable]
    if stable and base is not None:
        stable.append(base)
    vertices: list[Entrant] = []
    for entrant in staircase(stable):
        while len(vertices) > 1 and _slope(vertices[-2], vertices[-1]) <= _slope(vertices[-1], entrant):
            vertices.pop()
        vertices.append(entrant)
    return Front(tuple(vertices), max((entrant.typical.ratio.value for entrant in stable), default=0.0))


def staircase(entrants: Sequence[Entrant]) -> list[Entrant]:
    """Return the plans that no faster one equals in validation accuracy, the fastest first."""
    ordered = sorted(entrants, key=lambda e: (e.typical.ratio.value, -e.validation, e.plan_hash))
    steps: list[Entrant] = []
    for entrant in ordered:
        if not steps or entrant.validation > steps[-1].validation:
            steps.append(entrant)
    return steps


def _slope(fast: Entrant, slow: Entrant) -> float:
    return (slow.validation - fast.validation) / (slow.typical.ratio.value - fast.typical.ratio.value)
