"""Latency at equal accuracy, crossovers and hypervolumes, against numbers by hand and by simulation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest

from layerprune.api.pruning import Family
from server.leaderboard import sentences
from server.leaderboard.contenders import Entrant
from server.leaderboard.envelope import Front, front, staircase
from server.leaderboard.fronts import Course, courses
from server.leaderboard.resampling import RESAMPLES, draw, estimate, hypervolume

Plan = Callable[..., Entrant]


def course(base: Entrant, *plans: Entrant) -> Course:
    families: list[Family] = list(dict.fromkeys(plan.family for plan in plans))
    drawn = {family: front([plan for plan in plans if plan.family == family], base) for family in families}
    draws = draw([base, *plans], seed=0)
    (found,) = courses(drawn, draws, base)
    return found


def test_latency_at_equal_accuracy_is_read_off_both_fronts(plan: Plan, base: Entrant) -> None:
    found = course(base, plan("l", 0.5, 900), plan("f", 0.6, 850, family="filter"))
    level = next(level for level in found.levels if level.accuracy == pytest.approx(0.93))
    # Layers: 930 is 30 of 50 from 0.5 to 1; filters: 80 of 100 from 0.6 to 1.
    assert (level.first.value, level.second.value) == (pytest.approx(0.8), pytest.approx(0.92))
    assert level.ratio.value == pytest.approx(0.8 / 0.92)
    assert level.ratio.low < level.ratio.value < level.ratio.high < 1


def test_an_accuracy_that_the_fastest_plan_exceeds_is_no_level(plan: Plan, base: Entrant) -> None:
    found = course(base, plan("l", 0.5, 925), plan("f", 0.6, 850, family="filter"))
    assert all(level.accuracy > 0.925 for level in found.levels)


def test_the_base_itself_is_no_level(plan: Plan, base: Entrant) -> None:
    found = course(base, plan("l", 0.5, 900), plan("f", 0.6, 850, family="filter"))
    assert all(level.accuracy < 0.95 for level in found.levels)


def test_a_handful_of_images_shows_no_crossover(plan: Plan, base: Entrant) -> None:
    plans = [plan("l", 0.5, 904), plan("l2", 0.7, 920), plan("f", 0.5, 900, family="filter")]
    found = course(base, *plans, plan("f2", 0.7, 924, family="filter"))
    assert (found.crossing, found.better) == (None, ())


def test_a_crossover_is_shown_where_both_sides_are_sure(plan: Plan, base: Entrant) -> None:
    plans = [
        plan("fast layer", 0.3, 850),
        plan("slow layer", 0.7, 870),
        plan("fast filter", 0.3, 700, family="filter"),
        plan("slow filter", 0.7, 940, family="filter"),
    ]
    crossing = course(base, *plans).crossing
    assert crossing is not None
    assert (crossing.below, crossing.above) == ("layer", "filter")
    assert crossing.low < crossing.ratio < crossing.high
    # Layers from 0.85 to the base's 0.95 in one line; filters 0.7 + 0.6 (x - 0.3): they meet 0.15 above 0.7 and on.
    assert crossing.ratio == pytest.approx(0.3 + 0.15 / (0.6 - 0.1 / 0.7), abs=0.02)


def test_equal_fronts_show_no_crossover_and_nobody_ahead(plan: Plan, base: Entrant) -> None:
    found = course(base, plan("l", 0.5, 900), plan("f", 0.5, 901, family="filter"))
    assert (found.crossing, found.better) == (None, ())
    assert "no crossover is shown, nor that either is ahead anywhere" in sentences.of_course(found)


def test_one_that_is_ahead_throughout_is_named(plan: Plan, base: Entrant) -> None:
    found = course(base, plan("l", 0.5, 930), plan("f", 0.5, 850, family="filter"))
    assert (found.crossing, found.better) == (None, ("layer",))
    assert "layer pruning is shown to be ahead" in sentences.of_course(found)


def test_a_hypervolume_is_the_area_of_the_staircase(plan: Plan, base: Entrant) -> None:
    steps = staircase([plan("a", 0.4, 800), plan("b", 0.7, 900), plan("dominated", 0.8, 850)])
    volume = hypervolume(steps, draw([base, *steps], seed=0), reference=0.6)
    assert volume.value == pytest.approx(0.3 * 0.2 + 0.3 * 0.3)
    assert volume.low < volume.value < volume.high


def test_what_is_slower_than_the_base_has_no_area(plan: Plan, base: Entrant) -> None:
    steps = [plan("slow", 1.2, 900)]
    assert hypervolume(steps, draw([base, *steps], seed=0), reference=0.6).value == 0


def test_the_same_seed_gives_the_same_draws(plan: Plan, base: Entrant) -> None:
    plans = [base, plan("a", 0.5, 800, seeds=(810, 790))]
    first, second = draw(plans, seed=1), draw(plans, seed=1)
    assert np.array_equal(first.accuracies, second.accuracies)
    assert np.array_equal(first.ratios, second.ratios)


def test_draws_have_the_spread_of_images_and_of_latencies(plan: Plan) -> None:
    draws = draw([plan("a", 0.5, 800, width=0.02)], seed=0)
    assert draws.accuracies.shape == (1 + RESAMPLES, 1)
    assert draws.accuracies[1:].std() == pytest.approx(math.sqrt(0.8 * 0.2 / 1000), rel=0.1)
    latency = estimate(draws.ratios[:, 0])
    assert (latency.low, latency.high) == (pytest.approx(0.49, rel=0.003), pytest.approx(0.51, rel=0.003))


def test_seeds_widen_an_interval_as_students_does(plan: Plan) -> None:
    # Means of 800, 900 and 1000 of 1000: sd 0.1, so t(2) 0.1 / sqrt(3), which swamps the images' own spread.
    found = estimate(draw([plan("a", 0.5, 800, seeds=(900, 1000))], seed=0).accuracies[:, 0])
    assert (found.high - found.low) / 2 == pytest.approx(4.30265 * 0.1 / math.sqrt(3), rel=0.15)


def test_the_latency_ratio_at_equal_accuracy_covers_the_truth(plan: Plan) -> None:
    """Networks whose true accuracies make the fronts equal: the interval must hold 1 in about 95 % of the cases."""
    rng = np.random.default_rng(0)
    held, levels = 0, 0
    for _ in range(60):
        skill = rng.random(1000)

        def outcomes(accuracy: float, skill: np.ndarray = skill) -> np.ndarray:
            return skill + rng.normal(0, 0.1, len(skill)) < accuracy

        base = plan("base", 1.0, outcomes(0.9), family="base", validation=900)
        sides = [plan(family, 0.5, outcomes(0.7), family=family, validation=700) for family in ("layer", "filter")]
        for level in course(base, *sides).levels:
            if level.accuracy == pytest.approx(base.typical.outcomes.mean() - 0.1):
                levels += 1
                held += level.ratio.low <= 1 <= level.ratio.high
    assert levels > 50
    assert 0.88 <= held / levels <= 1


def test_a_hundred_plans_on_ten_thousand_images_take_a_second_or_two(plan: Plan) -> None:
    rng = np.random.default_rng(0)
    families: tuple[Family, ...] = ("layer", "filter", "filter_aligned", "hybrid")
    plans = [
        plan(
            f"{i}", 0.2 + 0.007 * i, rng.random(10_000) < 0.6 + 0.003 * i, family=families[i % 4], criterion=f"c{i % 5}"
        )
        for i in range(100)
    ]
    base = plan("base", 1.0, rng.random(10_000) < 0.95, family="base")
    started = time.process_time()
    draws = draw([base, *plans], seed=0)
    drawn: dict[Family, Front] = {
        family: front([plan for plan in plans if plan.family == family], base) for family in families
    }
    assert len(courses(drawn, draws, base)) == 6
    assert time.process_time() - started < 5
