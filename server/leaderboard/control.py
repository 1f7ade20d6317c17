"""The control: does a criterion choose better than chance does?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from layerprune.api.pruning import Family

from . import sentences
from .contenders import Entrant, Goal
from .duels import DirectRatio, Verdict, fight, hold

CONTROL = "random"
"""The criterion that knows nothing; another one that does no better has not earned its name."""


def against_control(
    entrants: Sequence[Entrant],
    families: Sequence[Family],
    criteria: Sequence[str],
    goals: Sequence[Goal],
    direct: DirectRatio,
    *,
    least_effect: float = 0.0,
) -> list[str]:
    """Say for each family and criterion how it did against `random`; nothing if `random` was not asked for.

    Both stand with the same number of tries at every target where both have a plan of the family. What is shown holds
    for all of these duels together.
    """
    if CONTROL not in criteria:
        return []
    met = []
    for family in families:
        own = [entrant for entrant in entrants if entrant.family == family]
        for criterion in criteria:
            pairs = [_contenders(own, criterion, goal) for goal in goals] if criterion != CONTROL else []
            met += [(family, criterion, pair) for pair in pairs if pair is not None]
    apart = [(family, criterion, pair) for family, criterion, pair in met if pair[0].plan_hash != pair[1].plan_hash]
    held = hold([(fight(*pair, direct, least_effect=least_effect), None) for _, _, pair in apart])
    verdicts: dict[tuple[Family, str], list[Verdict | Literal["same"]]] = {(f, c): [] for f, c, _ in met}
    for family, criterion, pair in met:
        if pair[0].plan_hash == pair[1].plan_hash:
            verdicts[family, criterion].append("same")
    for (family, criterion, _), (duel, _) in zip(apart, held, strict=True):
        verdicts[family, criterion].append(duel.verdict)
    return [sentences.of_control(family, criterion, CONTROL, own) for (family, criterion), own in verdicts.items()]


def _contenders(own: Sequence[Entrant], criterion: str, goal: Goal) -> tuple[Entrant, Entrant] | None:
    """The criterion's contender and the control's; None if one of them has none."""
    groups = {name: [entrant for entrant in own if name in entrant.criteria] for name in (criterion, CONTROL)}
    chosen = goal.choose(groups).contenders
    return (chosen[criterion][0], chosen[CONTROL][0]) if len(chosen) == len(groups) else None
