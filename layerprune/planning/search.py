"""Budgets: choose layers and channel widths that cost least and fit a latency, exactly, from measured single edits.

Every removable layer goes or stays, every group of coupled channels keeps one width; a group inside a layer that goes
has no width of its own. What one edit saves is 1 - r, r being the measured latency ratio of the network with that edit
alone, and edits are taken to add up: a set E of edits is predicted at 1 - sum over E of (1 - r_e). One mixed-integer
program chooses for all families; a family only restricts what may be chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from layerprune.api.pruning import Family, PruningSpec
from layerprune.api.tasks import Edit, Tried

RESOLUTION = 0.005
"""A sweep is too short to tell savings apart that differ by less than this fraction of the base's latency."""
AIM = 0.985
"""Predictions have to stay below this fraction of the target: the middle of what counts as met."""
_KINDS: Mapping[Family, frozenset[str]] = {
    "layer": frozenset({"layer"}),
    "filter_aligned": frozenset({"channels"}),
    "hybrid": frozenset({"layer", "channels"}),
}
_LONGEST_S = 30.0
"""After so long the best choice found so far is taken; programs of this size take well under a second."""


@dataclass(frozen=True)
class Choice:
    """The cheapest edits that fit, in the order given, what they cost together and the latency ratio they promise."""

    edits: tuple[Edit, ...]
    cost: float
    predicted: float


@dataclass(frozen=True)
class Unreachable:
    """No choice of this family is fast enough; ``lowest`` is the ratio that its fastest one is predicted at."""

    lowest: float


def solve(
    edits: Sequence[Edit],
    ratios: Mapping[str, float],
    target: float,
    *,
    family: Family,
    costs: Mapping[str, float],
    correction: float = 0.0,
) -> Choice | Unreachable:
    """Choose the edits of least summed cost whose predicted ratio plus ``correction`` is at most ``target``.

    ``ratios`` are measured latency ratios by architecture, ``costs`` by edit's id; an edit without either is not
    chosen. Negative costs count as zero: nothing is removed for its own sake.
    """
    allowed = [edit for edit in edits if edit.kind in _KINDS[family] and edit.id in costs]
    offered = worthwhile(allowed, ratios)
    if not offered:
        return Unreachable(1.0 + correction)
    savings = np.array([1 - ratios[edit.architecture] for edit in offered])
    weights = np.array([max(0.0, costs[edit.id]) for edit in offered])
    exclusive = _exclusive(offered, edits)
    needed = 1 + correction - target
    chosen = _minimise(weights / (weights.max() or 1.0), exclusive, savings, needed)
    if chosen is None:
        fastest = _minimise(-savings, exclusive, savings, 0.0)
        assert fastest is not None  # nothing at all is always a choice
        return Unreachable(1 + correction - float(savings[fastest].sum()))
    picked = tuple(edit for edit, taken in zip(offered, chosen, strict=True) if taken)
    return Choice(picked, float(weights[chosen].sum()), 1 + correction - float(savings[chosen].sum()))


def families(spec: PruningSpec) -> list[Family]:
    """The job's families that are solved from single edits.

    Unaligned filters are not among them: kernels handle odd widths so unevenly that savings do not add up.
    """
    found: list[Family] = ["layer"] if "layer" in spec.methods else []
    if "filter" in spec.methods and max(spec.filters.alignments) > 1:
        found.append("filter_aligned")
    return [*found, "hybrid"] if "hybrid" in spec.methods else found


def worthwhile(edits: Iterable[Edit], ratios: Mapping[str, float]) -> list[Edit]:
    """The measured edits that save something: latency is a staircase, so many widths are no faster than a wider one."""
    measured = [edit for edit in edits if edit.architecture in ratios]
    fastest: dict[str, float] = {}
    kept = set()
    for edit in sorted(measured, key=lambda edit: -edit.kept):
        ladder = edit.target if edit.kind == "channels" else edit.id
        if ratios[edit.architecture] < fastest.get(ladder, 1.0) - RESOLUTION:
            fastest[ladder] = ratios[edit.architecture]
            kept.add(edit.id)
    return [edit for edit in measured if edit.id in kept]


def costs_by_criterion(
    edits: Iterable[Edit], layer_scores: Mapping[str, Mapping[str, float]], family: Family
) -> dict[str, dict[str, float]]:
    """What each edit costs a family, by criterion and edit's id.

    Layers by themselves are weighed by any criterion's layer scores, which are raised so far that none is negative;
    layers and channels together by those criteria alone whose costs add up.
    """
    found: dict[str, dict[str, float]] = {}
    if family == "layer":
        for criterion, scores in layer_scores.items():
            lowest = min(0.0, min(scores.values(), default=0.0))
            found[criterion] = {f"layer:{name}": score - lowest for name, score in scores.items()}
        return found
    for edit in edits:
        for criterion, cost in edit.costs.items():
            found.setdefault(criterion, {})[edit.id] = cost
    return found


def correction(tried: Iterable[Tried]) -> float:
    """By how much the latest solution of one target was slower than its edits alone had predicted.

    A prediction contains the correction made so far, so that the misses of all rounds add up.
    """
    return sum(one.measured - one.solved.predicted for one in tried)


def interaction(edits: Iterable[Edit], macs: int, *, base_macs: int) -> float:
    """By how much edits save less together than they would added up, as a fraction of the base, counted in MACs.

    A convolution that loses inputs and outputs saves (1 - a)(1 - b) of itself, not a + b. ``macs`` is what all the
    edits leave. Latency follows MACs closely enough for this second-order term; a measurement corrects the rest.
    """
    return macs / base_macs - 1 + sum(1 - edit.macs / base_macs for edit in edits)


def _exclusive(offered: Sequence[Edit], edits: Sequence[Edit]) -> list[list[int]]:
    """Sets of places of which one at most may be chosen: the widths of a group; they and a layer around them."""
    inside = {(edit.kind, edit.target): edit.inside for edit in edits}
    layers = {edit.target: place for place, edit in enumerate(offered) if edit.kind == "layer"}
    members: dict[tuple[Literal["layer", "channels"], str], list[int]] = {}
    for place, edit in enumerate(offered):
        members.setdefault((edit.kind, edit.target), []).append(place)
    rows = []
    for key, places in members.items():
        rows.append(places)
        outer = inside[key]
        while outer is not None:
            if outer in layers:
                rows.append([*places, layers[outer]])
            outer = inside.get(("layer", outer))
    return [row for row in rows if len(row) > 1]


def _minimise(
    objective: np.ndarray, exclusive: Sequence[Sequence[int]], savings: np.ndarray, needed: float
) -> np.ndarray | None:
    """Which places to take, as booleans, so that the objective is least; None if that much cannot be saved."""
    rows = np.zeros((len(exclusive) + 1, len(savings)))
    rows[0] = savings
    for number, places in enumerate(exclusive, start=1):
        rows[number, list(places)] = 1.0
    lower = np.array([needed, *[-np.inf] * len(exclusive)])
    upper = np.array([np.inf, *[1.0] * len(exclusive)])
    answer = milp(
        objective,
        integrality=np.ones(len(savings)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(rows, lower, upper),
        options={"mip_rel_gap": 1e-6, "time_limit": _LONGEST_S},
    )
    return None if answer.x is None else answer.x > 0.5
