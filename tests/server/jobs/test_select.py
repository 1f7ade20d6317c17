"""The choice of plans, by hand-made tables."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.jobs.select import WINDOW, Point, Selection, Sweep, select, select_amounts

CRITERIA = ["l1", "random"]


def point(
    name: str, family: str = "layer", criterion: str = "l1", alignment: int = 1, amount: float = 0.3, ratio: float = 1.0
) -> Point:
    return Point(name, family, criterion, alignment, None, amount, ratio)  # type: ignore[arg-type]


def choose(points: list[Point], *targets: float, max_plans: int = 100, **more: Any) -> Selection:
    return select([Sweep("here", points, targets)], criteria=CRITERIA, max_plans=max_plans, stopped_by={}, **more)


def names(selection: Selection) -> list[str]:
    return [pick.plan_hash for pick in selection.picks]


def test_the_slowest_plan_in_the_window_is_taken() -> None:
    points = [point("a", ratio=0.47), point("b", ratio=0.51), point("c", ratio=0.516), point("d", ratio=0.469)]
    assert names(choose(points, 0.5)) == ["b"]


def test_a_missed_window_is_bracketed_the_fast_side_first() -> None:
    points = [
        point("slow", ratio=0.6),
        point("slower", ratio=0.8),
        point("fast", ratio=0.4),
        point("faster", ratio=0.2),
    ]
    assert names(choose(points, 0.5)) == ["fast", "slow"]


def test_a_plan_slower_than_the_base_brackets_nothing() -> None:
    assert names(choose([point("useless", ratio=1.1), point("fast", ratio=0.4)], 0.5)) == ["fast"]


def test_a_family_without_a_fast_side_says_what_it_can_reach_and_why() -> None:
    points = [point("a", ratio=0.8), point("b", ratio=0.62)]
    selection = select(
        [Sweep("here", points, [0.5])], criteria=CRITERIA, max_plans=9, stopped_by={"layer": "the network's depth"}
    )
    assert selection.picks == []
    assert selection.notes == [
        "here: layer pruning cannot reach 0.5 of the base's latency; the nearest it gets is 0.62, "
        "because of the network's depth"
    ]


def test_the_alignment_that_keeps_most_is_taken() -> None:
    points = [
        point("eight", "filter_aligned", alignment=8, amount=0.5, ratio=0.51),
        point("sixteen", "filter_aligned", alignment=16, amount=0.4, ratio=0.50),
    ]
    assert names(choose(points, 0.5)) == ["sixteen"]


def test_filters_meet_the_layers_instead_of_filling_the_window() -> None:
    points = [
        point("layer", ratio=0.485),
        point("near", "filter", ratio=0.480),
        point("slowest", "filter", ratio=0.514),
        point("aligned-near", "filter_aligned", alignment=8, ratio=0.49),
        point("aligned-slowest", "filter_aligned", alignment=16, ratio=0.51),
    ]
    assert set(names(choose(points, 0.5))) == {"layer", "near", "aligned-near"}


def test_the_place_to_meet_is_the_median_hit_of_the_layers() -> None:
    points = [
        point("fast", ratio=0.475),
        point("middle", criterion="random", ratio=0.49),
        point("slow", criterion="other", ratio=0.51),
        *(point(f"filter at {ratio}", "filter", ratio=ratio) for ratio in (0.475, 0.49, 0.51)),
    ]
    found = select([Sweep("here", points, [0.5])], criteria=[*CRITERIA, "other"], max_plans=9, stopped_by={})
    assert set(names(found)) == {"fast", "middle", "slow", "filter at 0.49"}


def test_of_plans_that_a_sweep_cannot_tell_apart_the_one_that_keeps_most_is_taken() -> None:
    points = [
        point("layer", ratio=0.5),
        point("nearest", "filter_aligned", alignment=8, amount=0.6, ratio=0.501),
        point("keeps more", "filter_aligned", alignment=16, amount=0.4, ratio=0.504),
        point("keeps most, but is further", "filter_aligned", alignment=16, amount=0.3, ratio=0.51),
    ]
    assert set(names(choose(points, 0.5))) == {"layer", "keeps more"}


def test_where_layers_miss_the_window_filters_meet_them_on_the_fast_side_too() -> None:
    points = [
        point("layer", ratio=0.45),
        point("hit", "filter", ratio=0.51),
        point("beside", "filter", ratio=0.44),
        point("too far", "filter", ratio=0.43),
    ]
    # Hits are dealt first in each family; 0.45 / 0.44 is within 3 %, 0.45 / 0.43 is not.
    assert names(choose(points, 0.5)) == ["hit", "layer", "beside"]


def test_a_cell_that_misses_as_well_is_bracketed_by_the_plan_that_meets() -> None:
    points = [
        point("layer", ratio=0.4),
        point("meets", "filter", ratio=0.41),
        point("nearer", "filter", ratio=0.46),
        point("slow", "filter", ratio=0.6),
    ]
    assert names(choose(points, 0.5)) == ["meets", "layer", "slow"]


def test_without_layers_the_aligned_filters_meet_the_unaligned_ones() -> None:
    points = [
        point("filter", "filter", ratio=0.48),
        point("near", "filter_aligned", alignment=8, ratio=0.482),
        point("slowest", "filter_aligned", alignment=8, ratio=0.51),
    ]
    assert names(choose(points, 0.5)) == ["filter", "near"]


def test_hybrids_meet_the_layers_too() -> None:
    points = [point("layer", ratio=0.48), point("near", "hybrid", ratio=0.485), point("slowest", "hybrid", ratio=0.5)]
    assert set(names(choose(points, 0.5))) == {"layer", "near"}


def test_where_layers_reach_nothing_the_others_meet_the_hybrids() -> None:
    points = [
        point("layer", ratio=0.8),
        point("hybrid", "hybrid", ratio=0.49),
        point("near", "filter_aligned", alignment=8, ratio=0.488),
        point("slowest", "filter_aligned", alignment=8, ratio=0.51),
    ]
    assert set(names(choose(points, 0.5))) == {"hybrid", "near"}


def test_a_pick_knows_every_use_it_was_wished_for() -> None:
    points = [point("a", ratio=0.5), point("a", "hybrid", ratio=0.5)]
    (pick,) = choose(points, 0.5, 0.51).picks
    assert {(use.family, use.target_no) for use in pick.uses} == {
        ("layer", 0),
        ("layer", 1),
        ("hybrid", 0),
        ("hybrid", 1),
    }


def test_a_family_that_cannot_reach_the_target_is_nobodys_anchor() -> None:
    points = [
        point("layer", ratio=0.9),
        point("fast", "filter", ratio=0.475),
        point("slow", "filter", ratio=0.51),
    ]
    assert names(choose(points, 0.5)) == ["slow"]


def test_each_criterion_has_its_own_plan() -> None:
    points = [point("a", ratio=0.5), point("b", criterion="random", ratio=0.5)]
    assert names(choose(points, 0.5)) == ["a", "b"]


def test_a_plan_that_serves_two_targets_and_criteria_is_trained_once() -> None:
    points = [point("a", ratio=0.5), point("a", criterion="random", ratio=0.5)]
    assert names(choose(points, 0.5, 0.51)) == ["a"]


def test_the_limit_is_shared_between_families_and_hits_come_first() -> None:
    points = [
        point("layer-miss-fast", ratio=0.3),
        point("layer-miss-slow", ratio=0.7),
        point("layer-hit", criterion="random", ratio=0.5),
        point("filter-hit", "filter", ratio=0.5),
        point("filter-hit-2", "filter", "random", ratio=0.5),
    ]
    selection = choose(points, 0.5, max_plans=3)
    assert names(selection) == ["filter-hit", "layer-hit", "filter-hit-2"]
    assert selection.notes == ["2 more plans were wanted than the limit of trainings allows; they were left out"]


def test_two_devices_may_want_different_plans() -> None:
    sweeps = [Sweep("one", [point("a", ratio=0.5)], [0.5]), Sweep("two", [point("b", ratio=0.5)], [0.5])]
    assert names(select(sweeps, criteria=CRITERIA, max_plans=9, stopped_by={})) == ["a", "b"]


def test_amounts_take_the_nearest_plan_of_each_alignment() -> None:
    points = [
        point("far", "filter_aligned", alignment=8, amount=0.1),
        point("near", "filter_aligned", alignment=8, amount=0.45),
        point("other", "filter_aligned", alignment=16, amount=0.6),
    ]
    found = select_amounts(points, [0.5], criteria=CRITERIA, max_plans=9)
    assert names(found) == ["near", "other"]


POINTS = st.lists(
    st.builds(
        point,
        st.uuids().map(str),
        st.sampled_from(["layer", "filter", "filter_aligned"]),
        st.sampled_from(CRITERIA),
        st.sampled_from([1, 8, 16]),
        st.floats(0.01, 0.99),
        st.floats(0.1, 1.5),
    ),
    max_size=40,
)


@given(POINTS, st.lists(st.floats(0.1, 0.95), min_size=1, max_size=3), st.integers(1, 12))
def test_what_is_chosen_is_allowed_distinct_and_even(points: list[Point], targets: list[float], limit: int) -> None:
    chosen = names(choose(points, *targets, max_plans=limit))
    unlimited = choose(points, *targets)
    wanted = {
        family: sum(p.family == family for p in unlimited.picks) for family in ("layer", "filter", "filter_aligned")
    }
    assert len(chosen) == len(set(chosen)) == min(limit, len(unlimited.picks))
    counts = {family: sum(p.plan_hash in chosen for p in points if p.family == family) for family in wanted}
    hungry = [counts[family] for family in counts if counts[family] < wanted[family]]
    assert not hungry or max(counts.values()) - min(hungry) <= 1


@given(POINTS, st.floats(0.1, 0.95))
def test_no_unchosen_layer_plan_of_a_cell_fits_better(points: list[Point], target: float) -> None:
    chosen = set(names(choose(points, target)))
    low, high = WINDOW[0] * target, WINDOW[1] * target
    for criterion in CRITERIA:
        cell = [p for p in points if (p.family, p.criterion, p.alignment) == ("layer", criterion, 1)]
        others = [p for p in points if (p.family, p.criterion) == ("layer", criterion) and p.alignment != 1]
        inside = [p.ratio for p in cell if low <= p.ratio <= high]
        if inside and not others:
            assert max(inside) in [p.ratio for p in cell if p.plan_hash in chosen]


@given(POINTS, st.floats(0.1, 0.95))
def test_the_choice_does_not_depend_on_the_order_of_the_points(points: list[Point], target: float) -> None:
    assert set(names(choose(points, target))) == set(names(choose(points[::-1], target)))


@given(POINTS, st.floats(0.1, 0.95))
def test_a_cell_wishes_for_at_most_two_plans(points: list[Point], target: float) -> None:
    chosen = set(names(choose(points, target)))
    cells = [(p.family, p.criterion) for p in points if p.plan_hash in chosen]
    assert all(cells.count(cell) <= 2 for cell in cells)
