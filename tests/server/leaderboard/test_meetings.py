"""Who wins at a goal among several families."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from layerprune.api.comparison import Comparison, TargetComparison
from layerprune.api.pruning import Family
from layerprune.stats import RatioEstimate, ratio_of_ratios
from server.leaderboard import meetings, sentences, views
from server.leaderboard.contenders import Entrant, Goal, Run
from server.leaderboard.matrix import matrix
from server.leaderboard.meetings import Meeting
from server.leaderboard.places import Place

Plan = Callable[..., Entrant]
GOAL = Goal("0.6 of the base's latency", ratio=0.6)


def direct(a: Run, b: Run) -> RatioEstimate:
    return ratio_of_ratios(a.ratio, b.ratio)


def place(base: Entrant, *entrants: Entrant, goals: Sequence[Goal] = (GOAL,)) -> Place:
    families: tuple[Family, ...] = ("layer", "filter", "filter_aligned", "hybrid", "handcrafted")
    present = tuple(family for family in families if any(e.family == family for e in entrants))
    row: Any = SimpleNamespace()
    return Place(row, 1_000_000, base, entrants, present, tuple(goals), {}, 0, least_effect=0.01)


def met(at: Place) -> tuple[list[Family], list[Meeting]]:
    chosen = meetings.choose(at, at.goals[0])
    (found,) = meetings.meet_all([chosen], meetings.fronts(at), direct, least_effect=at.least_effect)
    return meetings.winners(chosen, found), found


def test_one_that_beats_all_others_wins_alone(plan: Plan, base: Entrant) -> None:
    plans = [plan("l", 0.6, 900), plan("f", 0.6, 850, family="filter"), plan("h", 0.6, 940, family="hybrid")]
    assert met(place(base, *plans))[0] == ["hybrid"]


def test_those_that_nothing_is_shown_to_beat_are_tied(plan: Plan, base: Entrant) -> None:
    plans = [plan("l", 0.6, 900), plan("f", 0.6, 850, family="filter"), plan("h", 0.6, 901, family="hybrid")]
    assert met(place(base, *plans))[0] == ["hybrid", "layer"]


def test_a_family_alone_wins_nothing(plan: Plan, base: Entrant) -> None:
    assert met(place(base, plan("l", 0.6, 900)))[0] == []


def test_every_two_families_meet(plan: Plan, base: Entrant) -> None:
    plans = [
        plan("l", 0.6, 900),
        plan("f", 0.6, 900, family="filter"),
        plan("a", 0.6, 900, family="filter_aligned"),
        plan("h", 0.6, 900, family="hybrid"),
        plan("n", 0.6, 900, family="handcrafted"),
    ]
    winners, found = met(place(base, *plans))
    assert len(found) == 10
    assert len(winners) == 5


def test_a_rival_takes_no_tries_from_the_pruned(plan: Plan, base: Entrant) -> None:
    plans = [*(plan(f"{family}{i}", 0.6, 900 + i, family=family) for family in ("layer", "filter") for i in range(3))]
    chosen = meetings.choose(place(base, *plans, plan("n", 0.6, 900, family="handcrafted")), GOAL)
    assert {family: tries for family, (_, tries) in chosen.contenders.items()} == {
        "layer": 3,
        "filter": 3,
        "handcrafted": 1,
    }


@pytest.mark.parametrize(("family", "is_defect"), [("layer", True), ("filter_aligned", True), ("filter", False)])
def test_a_hybrid_that_loses_to_what_it_contains_is_a_defect(
    plan: Plan, base: Entrant, family: Family, is_defect: bool
) -> None:
    at = place(base, plan("x", 0.6, 940, family=family), plan("h", 0.6, 900, family="hybrid"))
    found = meetings.defects(GOAL, met(at)[1], device="box")
    assert bool(found) == is_defect
    assert all("on box at 0.6 of the base's latency" in note for note in found)


def test_a_hybrid_that_wins_or_ties_is_none(plan: Plan, base: Entrant) -> None:
    for correct in (900, 940):
        at = place(base, plan("l", 0.6, 900), plan("h", 0.6, correct, family="hybrid"))
        assert meetings.defects(GOAL, met(at)[1], device="box") == []


def test_each_criterion_meets_its_own_other_form(plan: Plan, base: Entrant) -> None:
    plans = [
        plan("l1 layers", 0.6, 900),
        plan("l1 filters", 0.6, 850, family="filter"),
        plan("l1 aligned", 0.6, 900, family="filter_aligned"),
        plan("imprinting layers", 0.6, 960, criterion="imprinting"),
        plan("taylor filters", 0.6, 990, family="filter", criterion="taylor"),
    ]
    found = meetings.forms(place(base, *plans), ["l1", "imprinting", "taylor"], direct)
    verdicts = [(one.criterion, one.second, one.at_equal_latency and one.at_equal_latency.verdict) for one in found]
    assert verdicts == [("l1", "filter", "first"), ("l1", "filter_aligned", "tied")]


def test_an_empty_matrix_says_so() -> None:
    nothing = Comparison(job="job", model="m", dataset="d", complete=False, devices=[])
    assert matrix("m", "d", [nothing]).summary == "Nothing can be compared yet."
    assert sentences.of_device("box", [], seeds=3, doubtful=0) == (
        "On box there is no target at which two families have a measured variant."
    )


def target(plan: Plan, base: Entrant, *plans: Entrant) -> TargetComparison:
    at = place(base, *plans)
    chosen = meetings.choose(at, GOAL)
    (found,) = meetings.meet_all([chosen], meetings.fronts(at), direct, least_effect=at.least_effect)
    return TargetComparison(
        target=GOAL.label,
        target_ratio=GOAL.ratio,
        contenders=[views.contender(*one) for one in chosen.contenders.values()],
        duels=[views.duel(chosen.contenders[m.first], chosen.contenders[m.second], m.duel, m.equal) for m in found],
        winners=meetings.winners(chosen, found),
    )


def test_the_summary_names_the_winner_and_what_it_beat(plan: Plan, base: Entrant) -> None:
    plans = [plan("l", 0.6, 900), plan("f", 0.6, 850, family="filter"), plan("h", 0.6, 940, family="hybrid")]
    assert sentences.of_device("box", [target(plan, base, *plans)], seeds=3, doubtful=0) == (
        "On box, at equal measured latency, hybrid pruning is more accurate than 2 other families at 0.6 of the base's "
        "latency."
    )


def test_the_summary_calls_a_tie_a_tie_and_warns_of_flags_and_few_seeds(plan: Plan, base: Entrant) -> None:
    tied = target(plan, base, plan("l", 0.6, 900), plan("f", 0.6, 901, family="filter"))
    assert sentences.of_device("box", [tied, tied], seeds=1, doubtful=1) == (
        "On box, at equal measured latency, unaligned filter pruning and layer pruning are tied at 0.6 of the base's "
        "latency and 0.6 of the base's latency. 1 measured variant carries flags and was not ranked. This speaks of "
        "the networks that were trained, with 1 training seed; a statement about the methods needs at least 3 seeds."
    )


def test_the_summary_does_not_decide_what_cannot_be_compared(plan: Plan, base: Entrant) -> None:
    apart = target(plan, base, plan("l", 0.6, 900), plan("n", 0.4, 850, family="handcrafted"))
    assert "no two families can be compared at 0.6" in sentences.of_device("box", [apart], seeds=3, doubtful=0)
