"""Choose which candidates are worth a training: a pure function of the sweep.

Families are compared at equal measured latency, not at equal budget: two plans that both meet a target may still differ
by several per cent in latency, and then neither has won. So the families are picked to meet. Per latency target:

- The first family that reaches it sets the place, layer pruning if it was asked for, because its steps are the
  coarsest. Each of its *cells* (a family under one criterion) takes the plan with the largest swept latency in
  [0.94 T, 1.03 T], because that gives the least away. Where several alignments or scopes get there, each has its own
  plan, and the one that keeps most of the base's work is taken: the sweep says which alignment pays on this device.
- The cells of the other families take, inside the window, the plan nearest to the *anchor*, which is the median of the
  first family's hits. Plans that a sweep cannot tell from the anchor are equally near; of them the one that keeps most
  is taken.
- A cell that misses the window is bracketed by its nearest plan on either side, the fast one first. If the whole first
  family missed, its nearest plan on the fast side is the anchor, and a plan of another family that is equally fast is
  wished for as well (in place of the fast bracket, if its cell has missed too).

A cell with nothing on the fast side cannot reach the target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from statistics import median_high

from layerprune.api.pruning import Family

WINDOW = (0.94, 1.03)
"""A plan hits target T if its latency lies in this window times T."""
EQUALLY_FAST = 0.03
"""Two plans are equally fast if neither takes more than this fraction longer than the other."""
ALIKE = 0.01
"""A sweep is too short to tell ratios apart that differ by less than this fraction."""
FAMILIES: tuple[Family, ...] = ("layer", "hybrid", "filter", "filter_aligned")
"""Families in the order in which they choose: the coarsest steps first, then the family that contains them."""
_HIT, _FAST, _SLOW = range(3)


@dataclass(frozen=True)
class Point:
    """A candidate under one swept condition; `ratio` is its latency as a multiple of the base's, `amount` the fraction
    of the base's MACs that it gives up."""

    plan_hash: str
    family: Family
    criterion: str
    alignment: int
    scope: str | None
    amount: float
    ratio: float = 1.0


@dataclass(frozen=True)
class Sweep:
    """What one device said under one condition, and the targets (ratios below 1) that hold there."""

    where: str
    points: Sequence[Point]
    targets: Sequence[float]


@dataclass(frozen=True)
class Use:
    """What a plan is good for: it stands for a family at one target of one sweep; `tier` is hit, fast or slow side."""

    tier: int
    sweep_no: int
    target_no: int
    family: Family


@dataclass(frozen=True)
class Pick:
    """A plan to train, with every use that was wished for."""

    plan_hash: str
    family: Family
    uses: tuple[Use, ...] = ()


@dataclass(frozen=True)
class Selection:
    """The plans to train, in order of merit, and what was left out and why."""

    picks: list[Pick]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Wish:
    """One cell's choice for one target: `tier` is hit, fast side or slow side."""

    tier: int
    criterion_no: int
    target_no: int
    sweep_no: int
    point: Point


def select(
    sweeps: Sequence[Sweep],
    *,
    criteria: Sequence[str],
    max_plans: int | None = None,
    stopped_by: dict[str, str],
) -> Selection:
    """Choose distinct plans, at most `max_plans`, as evenly over the families as they have plans to offer.

    `criteria` gives their order in the request; `stopped_by` says per family what limits it on this network.
    """
    wishes: dict[Family, list[_Wish]] = {}
    notes: list[str] = []
    for sweep_no, sweep in enumerate(sweeps):
        cells = _cells(sweep.points)
        for target_no, target in enumerate(sweep.targets):
            anchor: float | None = None
            for family in FAMILIES:
                own = {criterion: points for (of, criterion), points in cells.items() if of == family}
                found = {criterion: _choose(points, target, anchor) for criterion, points in own.items()}
                wishes.setdefault(family, []).extend(
                    _Wish(tier, criteria.index(criterion), target_no, sweep_no, point)
                    for criterion, plans in found.items()
                    for tier, point in plans
                )
                if own and not any(found.values()):
                    notes.append(_unreached(family, target, sweep, stopped_by.get(family)))
                if anchor is None:
                    anchor = _anchor([plan for plans in found.values() for plan in plans])
    return _share_out(wishes, max_plans, notes)


def select_amounts(
    points: Sequence[Point], amounts: Sequence[float], *, criteria: Sequence[str], max_plans: int | None = None
) -> Selection:
    """Choose per amount and cell, alignment and scope the plan that removes nearest to it; no latency is involved."""
    wishes: dict[Family, list[_Wish]] = {}
    for (family, criterion), cell in _cells(points).items():
        for target_no, amount in enumerate(amounts):
            for alternative in _alternatives(cell):
                nearest = min(alternative, key=lambda p: (abs(p.amount - amount), p.plan_hash))
                wish = _Wish(_HIT, criteria.index(criterion), target_no, 0, nearest)
                wishes.setdefault(family, []).append(wish)
    return _share_out(wishes, max_plans, [])


def _cells(points: Iterable[Point]) -> dict[tuple[Family, str], list[Point]]:
    cells: dict[tuple[Family, str], list[Point]] = {}
    for point in points:
        cells.setdefault((point.family, point.criterion), []).append(point)
    return cells


def _alternatives(cell: Iterable[Point]) -> list[list[Point]]:
    """The cell's points by alignment and scope."""

    def form(point: Point) -> tuple[int, str]:
        return point.alignment, point.scope or ""

    return [list(points) for _, points in groupby(sorted(cell, key=form), key=form)]


def _choose(cell: Sequence[Point], target: float, anchor: float | None) -> list[tuple[int, Point]]:
    """The cell's plans for a target, at most two, or none if it cannot get that fast.

    Without an anchor it is one hit, or one plan on either side; see the top of this file for what an anchor changes.
    """
    low, high = WINDOW[0] * target, WINDOW[1] * target
    inside = [p for p in cell if low <= p.ratio <= high]
    fast = [p for p in cell if p.ratio < low]
    slow = [p for p in cell if high < p.ratio < 1]
    meeting = [] if anchor is None or anchor >= low else [p for p in fast if _apart(p.ratio, anchor) <= EQUALLY_FAST]
    beside = [(_FAST, _nearest(meeting, anchor))] if anchor is not None and meeting else []
    if inside:
        hit = _least_given_away(inside) if anchor is None or anchor < low else _nearest(inside, anchor)
        return [(_HIT, hit), *beside]
    if not fast:
        return []
    found = beside or [(_FAST, max(fast, key=lambda p: (p.ratio, -p.amount, p.plan_hash)))]
    if slow:
        found.append((_SLOW, min(slow, key=lambda p: (p.ratio, p.amount, p.plan_hash))))
    return found


def _least_given_away(inside: Sequence[Point]) -> Point:
    """The slowest plan of each alignment and scope, and of these the one that keeps most."""
    slowest = [max(own, key=lambda p: (p.ratio, -p.amount, p.plan_hash)) for own in _alternatives(inside)]
    return min(slowest, key=lambda p: (p.amount, -p.ratio, p.plan_hash))


def _nearest(points: Sequence[Point], anchor: float) -> Point:
    def rank(point: Point) -> tuple[float, float, float, str]:
        apart = _apart(point.ratio, anchor)
        return max(apart, ALIKE), point.amount, apart, point.plan_hash

    return min(points, key=rank)


def _apart(a: float, b: float) -> float:
    return max(a, b) / min(a, b) - 1


def _anchor(found: Sequence[tuple[int, Point]]) -> float | None:
    """Where the other families are to meet the first: at its median hit (of two the slower), or its fast side."""
    hits = [point.ratio for tier, point in found if tier == _HIT]
    return median_high(hits) if hits else max((point.ratio for tier, point in found if tier == _FAST), default=None)


def _unreached(family: Family, target: float, sweep: Sweep, stopped_by: str | None) -> str:
    nearest = min(p.ratio for p in sweep.points if p.family == family)
    because = f", because of {stopped_by}" if stopped_by else ""
    return (
        f"{sweep.where}: {FAMILY_NAMES[family]} cannot reach {target:.3g} of the base's latency; "
        f"the nearest it gets is {nearest:.3g}{because}"
    )


def _share_out(wishes: dict[Family, list[_Wish]], max_plans: int | None, notes: list[str]) -> Selection:
    """Deal plans to the families in turn, best wishes first, until the limit; equal plans are trained once."""
    most = sum(map(len, wishes.values())) if max_plans is None else max_plans
    queues = [
        sorted(own, key=lambda w: (w.tier, w.criterion_no, w.target_no, w.sweep_no))
        for _, own in sorted(wishes.items())
    ]
    uses: dict[str, list[Use]] = {}
    for family, own in wishes.items():
        for w in own:
            uses.setdefault(w.point.plan_hash, []).append(Use(w.tier, w.sweep_no, w.target_no, family))
    picked: dict[str, Pick] = {}
    while any(queues) and len(picked) < most:
        for own in queues:
            while own and own[0].point.plan_hash in picked:
                own.pop(0)
            if own and len(picked) < most:
                point = own.pop(0).point
                picked[point.plan_hash] = Pick(point.plan_hash, point.family, tuple(uses[point.plan_hash]))
    left_out = {wish.point.plan_hash for own in queues for wish in own} - picked.keys()
    if left_out:
        notes = [
            *notes,
            f"{len(left_out)} more plans were wanted than the limit of trainings allows; they were left out",
        ]
    return Selection(list(picked.values()), notes)


FAMILY_NAMES: dict[str, str] = {
    "base": "the base",
    "layer": "layer pruning",
    "filter": "unaligned filter pruning",
    "filter_aligned": "aligned filter pruning",
    "hybrid": "hybrid pruning",
    "handcrafted": "handcrafted networks",
}
"""How a family is called in a sentence."""
