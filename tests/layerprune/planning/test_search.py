from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerprune.api.pruning import Family
from layerprune.api.tasks import Edit, Solved, Tried
from layerprune.planning.search import (
    Choice,
    Unreachable,
    correction,
    costs_by_criterion,
    interaction,
    solve,
    worthwhile,
)
from layerprune.targets import is_met


def layer(name: str, *, macs: int = 0) -> Edit:
    return Edit(id=f"layer:{name}", kind="layer", target=name, costs={}, architecture=f"-{name}", macs=macs, params=0)


def channels(group: str, kept: int, *, inside: str | None = None, width: int = 32, macs: int = 0) -> Edit:
    return Edit(
        id=f"channels:{group}:{kept}",
        kind="channels",
        target=group,
        inside=inside,
        width=width,
        kept=kept,
        costs={},
        architecture=f"{group}={kept}",
        macs=macs,
        params=0,
    )


def chosen(answer: Choice | Unreachable) -> set[str]:
    assert isinstance(answer, Choice), answer
    return {edit.id for edit in answer.edits}


def test_the_cheapest_layers_that_save_enough_go_and_not_the_nested_ones() -> None:
    edits = [layer("a"), layer("b"), layer("c")]
    ratios = {"-a": 0.95, "-b": 0.8, "-c": 0.7}
    costs = {"layer:a": 1.0, "layer:b": 2.0, "layer:c": 2.5}
    answer = solve(edits, ratios, 0.72, family="layer", costs=costs)
    assert chosen(answer) == {"layer:c"}  # by rising importance it would be a and b and c
    assert isinstance(answer, Choice)
    assert (answer.cost, answer.predicted) == (2.5, pytest.approx(0.7))


def test_savings_of_single_edits_add_up() -> None:
    answer = solve(
        [layer("a"), channels("g", 16)],
        {"-a": 0.8, "g=16": 0.9},
        0.7001,
        family="hybrid",
        costs={"layer:a": 1, "channels:g:16": 1},
    )
    assert chosen(answer) == {"layer:a", "channels:g:16"}
    assert isinstance(answer, Choice)
    assert answer.predicted == pytest.approx(0.7)


def test_a_group_keeps_one_width() -> None:
    edits = [channels("g", kept) for kept in (8, 16, 24)]
    ratios = {"g=8": 0.7, "g=16": 0.8, "g=24": 0.9}
    costs = {"channels:g:8": 9.0, "channels:g:16": 1.0, "channels:g:24": 1.0}
    assert chosen(solve(edits, ratios, 0.72, family="filter_aligned", costs=costs)) == {"channels:g:8"}


def test_a_group_goes_with_the_layer_around_it() -> None:
    edits = [layer("outer"), channels("g", 8, inside="outer")]
    answer = solve(
        edits, {"-outer": 0.7, "g=8": 0.8}, 0.6, family="hybrid", costs={"layer:outer": 1, "channels:g:8": 1}
    )
    assert answer == Unreachable(pytest.approx(0.7))


def test_a_layer_inside_another_goes_with_it() -> None:
    edits = [layer("outer"), layer("inner").model_copy(update={"inside": "outer"}), channels("g", 8, inside="inner")]
    ratios = {"-outer": 0.7, "-inner": 0.85, "g=8": 0.9}
    costs = {edit.id: 1.0 for edit in edits}
    assert solve(edits, ratios, 0.69, family="hybrid", costs=costs) == Unreachable(pytest.approx(0.7))


def test_widths_that_save_nothing_are_dropped() -> None:
    edits = [channels("g", kept, width=64) for kept in (8, 16, 32, 56)]
    ratios = {"g=8": 0.899, "g=16": 0.9, "g=32": 0.95, "g=56": 1.0}
    assert [edit.kept for edit in worthwhile(edits, ratios)] == [16, 32]


def test_an_edit_that_was_not_measured_is_not_chosen() -> None:
    assert isinstance(solve([layer("a")], {}, 0.9, family="layer", costs={"layer:a": 1.0}), Unreachable)


def test_families_restrict_the_choice() -> None:
    edits = [layer("a"), channels("g", 8)]
    ratios, costs = {"-a": 0.8, "g=8": 0.8}, {"layer:a": 1.0, "channels:g:8": 2.0}
    for family, expected in (("layer", "layer:a"), ("filter_aligned", "channels:g:8"), ("hybrid", "layer:a")):
        assert chosen(solve(edits, ratios, 0.85, family=family, costs=costs)) == {expected}  # type: ignore[arg-type]


def test_a_miss_moves_the_budget() -> None:
    edits = [layer("a"), layer("b")]
    ratios, costs = {"-a": 0.8, "-b": 0.75}, {"layer:a": 1.0, "layer:b": 2.0}
    assert chosen(solve(edits, ratios, 0.8, family="layer", costs=costs)) == {"layer:a"}
    assert chosen(solve(edits, ratios, 0.8, family="layer", costs=costs, correction=0.02)) == {"layer:b"}


def test_misses_of_all_rounds_add_up() -> None:
    def tried(predicted: float, measured: float) -> Tried:
        solved = Solved(
            place="p",
            target=0.5,
            family="hybrid",
            criterion="c",
            plan_hash="h",
            architecture="a",
            predicted=predicted,
        )
        return Tried(solved=solved, measured=measured)

    assert correction([]) == 0
    assert correction([tried(0.49, 0.53), tried(0.49, 0.48)]) == pytest.approx(0.03)


def test_negative_costs_remove_nothing_for_its_own_sake() -> None:
    edits = [layer("a"), layer("b")]
    answer = solve(edits, {"-a": 0.8, "-b": 0.8}, 0.85, family="layer", costs={"layer:a": -1.0, "layer:b": 3.0})
    assert "layer:b" not in chosen(answer)


def test_layer_scores_are_raised_until_none_is_negative() -> None:
    costs = costs_by_criterion([], {"imprinting": {"a": -0.5, "b": 1.0}}, "layer")
    assert costs == {"imprinting": {"layer:a": 0.0, "layer:b": 1.5}}


def test_cuts_on_both_sides_of_a_convolution_save_less_together() -> None:
    edits = [channels("in", 16, macs=50), channels("out", 16, macs=50)]
    assert interaction(edits, 25, base_macs=100) == pytest.approx(0.25)


@pytest.mark.parametrize(("measured", "met"), [(0.5, True), (0.486, True), (0.484, False), (0.501, False)])
def test_a_target_is_met_from_just_below(measured: float, met: bool) -> None:
    assert is_met(measured, 0.5, family="hybrid", predicted=0.5) is met


@pytest.mark.parametrize(("measured", "predicted", "met"), [(0.4, 0.41, True), (0.4, 0.5, False), (0.51, 0.51, False)])
def test_layers_have_met_a_target_from_further_below_if_the_prediction_held(
    measured: float, predicted: float, met: bool
) -> None:
    assert is_met(measured, 0.5, family="layer", predicted=predicted) is met


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Edit], dict[str, float], dict[str, float]]:
    """Up to three layers, each with a group inside, and a group around them; savings and costs at random."""
    edits: list[Edit] = []
    for name in "abc"[: draw(st.integers(1, 3))]:
        edits += [layer(name), channels(f"{name}.conv", 8, inside=name), channels(f"{name}.conv", 16, inside=name)]
    edits += [channels("stream", kept) for kept in (8, 16, 24)]
    ratio, cost = st.integers(60, 100), st.integers(0, 50)
    ratios = {edit.architecture: draw(ratio) / 100 for edit in edits}
    return edits, ratios, {edit.id: float(draw(cost)) for edit in edits}


def cheapest(
    edits: list[Edit], ratios: dict[str, float], costs: dict[str, float], family: Family, target: float
) -> float:
    """The least cost by trying every subset."""
    kinds = {"layer": {"layer"}, "filter_aligned": {"channels"}, "hybrid": {"layer", "channels"}}[family]
    offered = worthwhile([edit for edit in edits if edit.kind in kinds], ratios)
    least = math.inf
    for count in range(len(offered) + 1):
        for subset in itertools.combinations(offered, count):
            places = [edit.target for edit in subset]
            legal = len(set(places)) == len(places) and not {edit.inside for edit in subset} & set(places)
            if legal and sum(1 - ratios[edit.architecture] for edit in subset) >= 1 - target - 1e-9:
                least = min(least, sum(costs[edit.id] for edit in subset))
    return least


@settings(max_examples=25, deadline=None)
@given(problems(), st.sampled_from([0.9, 0.75, 0.55]), st.sampled_from(["layer", "filter_aligned", "hybrid"]))
def test_no_other_choice_is_cheaper(
    problem: tuple[list[Edit], dict[str, float], dict[str, float]], target: float, family: Family
) -> None:
    edits, ratios, costs = problem
    answer = solve(edits, ratios, target, family=family, costs=costs)
    least = cheapest(edits, ratios, costs, family, target)
    assert math.isinf(least) if isinstance(answer, Unreachable) else answer.cost == pytest.approx(least)


@settings(max_examples=60, deadline=None)
@given(problems(), st.floats(0.3, 0.95))
def test_hybrids_are_never_worse_than_the_families_they_contain(
    problem: tuple[list[Edit], dict[str, float], dict[str, float]], target: float
) -> None:
    edits, ratios, costs = problem
    hybrid = solve(edits, ratios, target, family="hybrid", costs=costs)
    for family in ("layer", "filter_aligned"):
        pure = solve(edits, ratios, target, family=family, costs=costs)  # type: ignore[arg-type]
        if isinstance(pure, Choice):
            assert isinstance(hybrid, Choice)
            assert hybrid.cost <= pure.cost + 1e-6
        elif isinstance(hybrid, Unreachable):
            assert hybrid.lowest <= pure.lowest + 1e-9
