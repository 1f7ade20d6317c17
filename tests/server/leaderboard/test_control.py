"""Criteria against random, by hand-made plans."""

from __future__ import annotations

import numpy as np

from layerprune.api.pruning import Family
from layerprune.stats import RatioEstimate
from server.leaderboard.contenders import Entrant, Goal, Run
from server.leaderboard.control import against_control

FAMILIES: list[Family] = ["layer", "filter"]
EQUAL = RatioEstimate(1.0, 0.99, 1.01, 1.0, 1)


def named(criterion: str, ratio: float, correct: int, *, family: Family = "layer", also: str = "") -> Entrant:
    name = f"{criterion} {family} {ratio}"
    run = Run(
        variant=name,
        seed=0,
        validation_correct=90,
        validation_n=100,
        outcomes=np.arange(100) < correct,
        p50_ns=round(ratio * 1e6),
        ratio=RatioEstimate(ratio, ratio * 0.99, ratio * 1.01, ratio, 1),
        flags=(),
        is_stable=True,
        group=(1, 0),
        samples="",
    )
    return Entrant(name, name, family, (criterion, also) if also else (criterion,), 0, 0.5, (run,))


def control(*entrants: Entrant) -> list[str]:
    goals = [Goal("half", ratio=0.5), Goal("most", ratio=0.8)]
    return against_control(entrants, FAMILIES, ["l1", "random"], goals, lambda *_: EQUAL)


def test_each_criterion_is_counted_against_random() -> None:
    plans = [named("l1", 0.5, 95), named("random", 0.5, 70), named("l1", 0.8, 91), named("random", 0.8, 90)]
    assert control(*plans) == ["Layer pruning by l1 against random: won 1, tied 1, lost 0 of 2 targets."]


def test_a_criterion_that_does_no_better_than_random_is_told() -> None:
    plans = [named("l1", 0.5, 90, family="filter"), named("random", 0.5, 90, family="filter")]
    # At 0.8 the nearest faster plans stand for both: the same duel once more.
    assert control(*plans) == [
        "Unaligned filter pruning by l1 against random: won 0, tied 2, lost 0 of 2 targets; "
        "it is not shown to choose better than random."
    ]


def test_a_plan_that_random_proposes_too_is_no_duel() -> None:
    assert control(named("l1", 0.8, 95, also="random")) == [
        "Layer pruning by l1 against random: won 0, tied 0, lost 0, the same plan at 1 of 1 target; "
        "it is not shown to choose better than random."
    ]


def test_without_random_there_is_no_control() -> None:
    goals = [Goal("half", ratio=0.5)]
    assert against_control([named("l1", 0.5, 95)], FAMILIES, ["l1"], goals, lambda *_: EQUAL) == []
