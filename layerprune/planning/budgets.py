"""A plan for one latency budget: the exact choice of edits, made good for what edits do to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from layerprune.api.pruning import Family
from layerprune.api.tasks import Edit
from layerprune.planning.edits import Editor
from layerprune.planning.outcome import Outcome
from layerprune.planning.search import RESOLUTION, Unreachable, interaction, solve
from layerprune.structure.plan import Plan

_MOST_ROUNDS = 5


@dataclass(frozen=True)
class Budgeted:
    """The plan for a budget, what it leaves, and the latency ratio that it promises."""

    plan: Plan
    left: Outcome
    predicted: float


def plan_within(
    target: float,
    editor: Editor,
    edits: Sequence[Edit],
    ratios: Mapping[str, float],
    *,
    family: Family,
    criterion: str,
    costs: Mapping[str, float],
    base_macs: int,
    correction: float = 0.0,
) -> Budgeted | Unreachable:
    """Solve for a ratio to the base's latency (see search.solve) and make the plan.

    Cuts on both sides of a convolution save less together than added up; how much less is known in MACs once a plan is
    there, so the program is solved again with it until that term stays the same, five times at most.
    """
    together, rounds = 0.0, 0
    while True:
        choice = solve(edits, ratios, target, family=family, costs=costs, correction=correction + together)
        if isinstance(choice, Unreachable):
            return choice
        plan, left = editor.plan(choice.edits, criterion=criterion, family=family)
        before, together = together, interaction(choice.edits, left.macs, base_macs=base_macs)
        rounds += 1
        if abs(together - before) < RESOLUTION or rounds == _MOST_ROUNDS:
            return Budgeted(plan, left, choice.predicted - before + together)
