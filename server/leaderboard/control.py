"""The control: does a criterion choose better than chance does?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from layerprune.api.pruning import Family

from . import sentences
from .contenders import Entrant, Goal
from .duels import DirectRatio, Verdict, fight

CONTROL = "random"
"""The criterion that knows nothing; another one that does no better has not earned its name."""


def against_control(
    entrants: Sequence[Entrant],
    families: Sequence[Family],
    criteria: Sequence[str],
    goals: Sequence[Goal],
    direct: DirectRatio,
) -> list[str]:
    """Say for each family and criterion how it did against `random`; nothing if `random` was not asked for.

    Both stand with the same number of tries at every target where both have a plan of the family.
    """
    if CONTROL not in criteria:
        return []
    found = []
    for family in families:
        own = [entrant for entrant in entrants if entrant.family == family]
        for criterion in criteria:
            if criterion != CONTROL:
                verdicts = [verdict for goal in goals if (verdict := _meet(own, criterion, goal, direct)) is not None]
                found += [sentences.of_control(family, criterion, CONTROL, verdicts)] if verdicts else []
    return found


def _meet(own: Sequence[Entrant], criterion: str, goal: Goal, direct: DirectRatio) -> Verdict | Literal["same"] | None:
    """What the criterion's contender comes to against the control's; None if one of them has none."""
    groups = {name: [entrant for entrant in own if name in entrant.criteria] for name in (criterion, CONTROL)}
    chosen = goal.choose(groups).contenders
    if len(chosen) < 2:
        return None
    (first, _), (second, _) = chosen[criterion], chosen[CONTROL]
    return "same" if first.plan_hash == second.plan_hash else fight(first, second, direct).verdict
