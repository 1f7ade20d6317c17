"""What a sweep may cost, and what is left out first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerprune.api.tasks import Candidate, Edit
from server.jobs.bill import affordable, bisection_levels, by_usefulness, surely_takes_s


def edit(name: str, kept: int = 0, target: str = "a") -> Edit:
    kind: Any = "channels" if kept else "layer"
    return Edit(id=name, kind=kind, target=target, kept=kept, costs={}, architecture=name, macs=1, params=1)


def candidate(name: str, family: Any, amount: float) -> Candidate:
    method: Any = "layer" if family == "layer" else "filter"
    return Candidate(
        plan={},
        plan_hash=name,
        architecture=name,
        method=method,
        family=family,
        criterion="l1",
        amount=amount,
        params=1,
        macs=1,
        label=name,
    )


def test_a_ladder_is_met_from_its_middle() -> None:
    assert bisection_levels(7) == [2, 1, 2, 0, 2, 1, 2]


@given(st.integers(0, 200))
def test_every_rung_has_a_level_and_half_of_them_the_last(count: int) -> None:
    levels = bisection_levels(count)
    assert len(levels) == count
    assert all(levels.count(level) <= 2**level for level in set(levels))


def test_single_layers_come_first_and_the_finest_widths_last() -> None:
    edits = [edit(f"w{kept}", kept) for kept in (8, 16, 24)] + [edit("layer")]
    assert by_usefulness(["w8", "w16", "w24", "layer"], [], edits) == ["layer", "w16", "w8", "w24"]


def test_of_equal_rungs_the_coarser_family_comes_first() -> None:
    candidates = [candidate("f", "filter", 0.5), candidate("a", "filter_aligned", 0.5), candidate("l", "layer", 0.5)]
    assert by_usefulness(["f", "a", "l"], candidates, []) == ["l", "a", "f"]


def test_an_architecture_is_as_useful_as_its_best_use() -> None:
    candidates = [candidate(name, "layer", amount) for name, amount in (("x", 0.1), ("y", 0.2), ("z", 0.3))]
    assert by_usefulness(["x", "y", "z"], candidates, [edit("z")]) == ["z", "y", "x"]


def test_nothing_is_lost_or_added() -> None:
    assert sorted(by_usefulness(["a", "b"], [candidate("b", "layer", 0.1)], [])) == ["a", "b"]


@pytest.mark.parametrize(("seconds", "each", "allowed"), [(60, 10, 6), (59, 10, 5), (0, 10, 0), (-5, 10, 0), (5, 0, 9)])
def test_what_a_budget_allows(seconds: float, each: float, allowed: int) -> None:
    assert affordable(seconds, each_s=each, count=9) == allowed


def test_a_small_network_surely_fits_and_a_large_one_may_not() -> None:
    assert surely_takes_s(100, macs=10_000_000, batch_size=1) < 20 * 60
    assert surely_takes_s(100, macs=4_000_000_000, batch_size=1) > 20 * 60
