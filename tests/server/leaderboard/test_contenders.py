"""Who stands for a family, and what a duel comes to, in numbers that can be checked by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from layerprune.api.pruning import Family
from layerprune.stats import RatioEstimate
from server.leaderboard import contenders, sentences
from server.leaderboard.contenders import Entrant, Run, Swept, by_family
from server.leaderboard.duels import accuracy_difference, fight

FAMILIES: list[Family] = ["layer", "filter"]
EQUAL = RatioEstimate(1.0, 0.99, 1.01, 1.0, 1)


def run(ratio: float = 0.5, *, validation: int = 90, correct: int = 90, seed: int = 0, **more: Any) -> Run:
    values: dict[str, Any] = {
        "variant": f"variant-{seed}",
        "seed": seed,
        "validation_correct": validation,
        "validation_n": 100,
        "outcomes": np.arange(100) < correct,
        "p50_ns": round(ratio * 1e6),
        "ratio": RatioEstimate(ratio, ratio * 0.99, ratio * 1.01, ratio, 1),
        "flags": (),
        "is_stable": True,
        "group": (1, 0),
        "samples": "",
    }
    return Run(**(values | more))


def entrant(name: str, family: Family = "layer", *runs: Run, order: int = 0, amount: float = 0.5) -> Entrant:
    return Entrant(name, name, family, (f"criterion{order}",), order, amount, runs or (run(),))


def names(chosen: contenders.Chosen[Any]) -> dict[str, str]:
    return {family: found.plan_hash for family, (found, _) in chosen.contenders.items()}


def test_validation_accuracy_decides_not_test_accuracy() -> None:
    good = entrant("good on validation", "layer", run(validation=95, correct=80))
    lucky = entrant("good on test", "layer", run(validation=90, correct=99))
    assert names(contenders.choose(by_family([lucky, good], ["layer"]), 0.5)) == {"layer": "good on validation"}


def test_only_plans_in_the_window_count() -> None:
    inside, outside = entrant("inside", "layer", run(0.51)), entrant("outside", "layer", run(0.52, validation=99))
    assert names(contenders.choose(by_family([inside, outside], ["layer"]), 0.5)) == {"layer": "inside"}


def test_the_larger_family_gets_no_more_tries() -> None:
    layers = [entrant(f"layer{i}", "layer", run(validation=90 + i), order=i) for i in range(3)]
    chosen = contenders.choose(by_family([*layers, entrant("filter", "filter")], FAMILIES), 0.5)
    # The first criterion of the request is the only one that is tried, although the third is better.
    assert names(chosen) == {"layer": "layer0", "filter": "filter"}
    assert {tries for _, tries in chosen.contenders.values()} == {1}


def test_a_family_outside_the_window_is_represented_by_its_nearest_faster_plan() -> None:
    plans = [
        entrant("fast", "layer", run(0.3)),
        entrant("faster", "layer", run(0.2)),
        entrant("slow", "layer", run(0.7)),
    ]
    assert names(contenders.choose(by_family(plans, ["layer"]), 0.5)) == {"layer": "fast"}


def test_a_family_that_is_too_slow_is_missing_with_its_nearest() -> None:
    chosen = contenders.choose(by_family([entrant("slow", "layer", run(0.7))], FAMILIES), 0.5)
    assert dict(chosen.missing) == {
        "layer": "the fastest variant takes 0.7 of the base's latency",
        "filter": "no variant was measured",
    }


def test_a_family_whose_fast_plans_were_not_trained_says_so() -> None:
    swept: dict[Family, list[Swept]] = {
        "layer": [Swept(0.7, is_trained=True), Swept(0.4, is_trained=False), Swept(0.06, is_trained=False)],
        "filter": [Swept(0.06, is_trained=False)],
    }
    chosen = contenders.choose(by_family([entrant("slow", "layer", run(0.7))], FAMILIES), 0.5, swept)
    assert set(chosen.missing) == set(FAMILIES)
    assert set(chosen.missing.values()) == {"reachable (0.06 swept), but no such plan was trained: see the job's notes"}


@pytest.mark.parametrize("swept", [[Swept(0.5, is_trained=True), Swept(0.4, is_trained=False)], [Swept(0.6, False)]])
def test_a_family_that_tried_or_cannot_reach_it_is_missing_with_its_nearest(swept: list[Swept]) -> None:
    found: dict[Family, list[Swept]] = {"layer": swept}
    chosen = contenders.choose(by_family([entrant("slow", "layer", run(0.7))], ["layer"]), 0.5, found)
    assert chosen.missing["layer"] == "the fastest variant takes 0.7 of the base's latency"


def test_a_stable_measurement_is_preferred() -> None:
    doubtful = entrant("doubtful", "layer", run(validation=99, is_stable=False, flags=("foreign_load",)))
    assert names(contenders.choose(by_family([doubtful, entrant("stable")], ["layer"]), 0.5)) == {"layer": "stable"}


def test_the_median_seed_stands_for_the_latency() -> None:
    found = entrant("x", "layer", run(0.52, seed=0), run(0.48, seed=1), run(0.5, seed=2))
    assert found.typical.seed == 2


def test_families_are_narrowed_to_plans_that_are_equally_fast() -> None:
    plans = [
        entrant("better, but alone", "layer", run(0.475, validation=99)),
        entrant("layer", "layer", run(0.5)),
        entrant("filter", "filter", run(0.503)),
        entrant("better, but slower", "filter", run(0.515, validation=99)),
    ]
    assert names(contenders.choose(by_family(plans, FAMILIES), 0.5)) == {"layer": "layer", "filter": "filter"}


def test_where_most_plans_meet_validation_accuracy_decides() -> None:
    plans = [
        *(entrant(f"layer{i}", "layer", run(0.5 + i / 1000, validation=90 + i), order=i) for i in range(2)),
        *(entrant(f"filter{i}", "filter", run(0.5 + i / 1000, validation=95 - i), order=i) for i in range(2)),
        # It meets a filter plan too, but with one try each.
        entrant("layer2", "layer", run(0.515, validation=99), order=2),
        entrant("filter2", "filter", run(0.515, validation=99), order=2),
    ]
    chosen = contenders.choose(by_family(plans, FAMILIES), 0.5)
    assert names(chosen) == {"layer": "layer1", "filter": "filter0"}
    assert {tries for _, tries in chosen.contenders.values()} == {2}


def test_families_may_meet_on_the_fast_side_of_the_window() -> None:
    plans = [
        entrant("layer", "layer", run(0.45)),
        entrant("beside", "filter", run(0.448)),
        entrant("hit", "filter", run(0.51, validation=99)),
    ]
    assert names(contenders.choose(by_family(plans, FAMILIES), 0.5)) == {"layer": "layer", "filter": "beside"}


def test_they_do_not_meet_far_from_where_the_first_family_is() -> None:
    plans = [
        entrant("layer", "layer", run(0.5)),
        entrant("fast layer", "layer", run(0.3)),
        entrant("fast filter", "filter", run(0.3)),
        entrant("hit", "filter", run(0.475)),
    ]
    assert names(contenders.choose(by_family(plans, FAMILIES), 0.5)) == {"layer": "layer", "filter": "hit"}


def test_amounts_choose_among_the_nearest() -> None:
    plans = [
        entrant("nearest", "layer", run(validation=80), amount=0.41),
        entrant("about as near", "layer", run(validation=95), amount=0.43),
        entrant("far", "layer", run(validation=99), amount=0.5),
    ]
    assert names(contenders.choose_by_amount(by_family(plans, ["layer"]), 0.4)) == {"layer": "about as near"}


def fight_with(first: Run, second: Run, latency: RatioEstimate | None = EQUAL) -> Any:
    return fight(entrant("a", "layer", first), entrant("b", "filter", second), lambda *_: latency)


def test_a_clear_difference_at_equal_latency_is_won() -> None:
    duel = fight_with(run(correct=95), run(correct=70))
    assert duel.difference.value == pytest.approx(0.25)
    assert duel.verdict == "first"


def test_the_other_side_wins_as_well() -> None:
    assert fight_with(run(correct=70), run(correct=95)).verdict == "second"


def test_an_interval_over_zero_is_a_tie() -> None:
    assert fight_with(run(correct=91), run(correct=90)).verdict == "tied"


FASTER = RatioEstimate(0.9, 0.89, 0.91, 0.9, 1)
SLOWER = RatioEstimate(1 / 0.9, 1 / 0.91, 1 / 0.89, 1 / 0.9, 1)


def test_a_latency_that_may_be_equal_or_not_is_not_compared() -> None:
    duel = fight_with(run(correct=95), run(correct=70), RatioEstimate(1.0, 0.96, 1.04, 1.0, 1))
    assert (duel.equally_fast, duel.faster, duel.verdict) == (False, None, "not_comparable")


@pytest.mark.parametrize(
    ("latency", "correct", "verdict"),
    [
        (FASTER, (95, 70), "first"),
        (FASTER, (91, 90), "first_faster"),
        (FASTER, (70, 95), "not_comparable"),
        (SLOWER, (70, 95), "second"),
        (SLOWER, (90, 91), "second_faster"),
        (SLOWER, (95, 70), "not_comparable"),
    ],
)
def test_who_is_faster_wins_unless_it_is_less_accurate(
    latency: RatioEstimate, correct: tuple[int, int], verdict: str
) -> None:
    assert fight_with(run(correct=correct[0]), run(correct=correct[1]), latency).verdict == verdict


def test_a_doubtful_latency_wins_nothing_by_being_faster() -> None:
    noisy = run(correct=95, is_stable=False, flags=("foreign_load",))
    assert fight_with(noisy, run(correct=70), FASTER).verdict == "not_comparable"


def test_a_doubtful_latency_is_not_ranked() -> None:
    duel = fight_with(run(correct=95, is_stable=False, flags=("foreign_load",)), run(correct=70))
    assert (duel.equally_fast, duel.doubts, duel.verdict) == (True, ("foreign_load",), "not_comparable")


def test_runs_of_other_groups_are_compared_by_way_of_their_bases() -> None:
    duel = fight_with(run(0.5), run(0.5), None)
    # Two intervals of 1 % each, added in quadrature.
    assert math.log(duel.latency.ci_high) == pytest.approx(math.sqrt(2) * 0.01, rel=1e-3)


def test_one_seed_has_the_interval_of_the_images() -> None:
    found = accuracy_difference(entrant("a", "layer", run(correct=100)), entrant("b", "filter", run(correct=80)))
    # Agresti and Min: 20 images only the first has right; cells 20.5 and 0.5 of 102.
    middle = 20 / 102
    half = 1.959964 * math.sqrt(21 - 20**2 / 102) / 102
    assert (found.value, found.seeds) == (pytest.approx(0.2), 1)
    assert (found.low, found.high) == (pytest.approx(middle - half), pytest.approx(middle + half))


def test_several_seeds_add_their_spread() -> None:
    ours = [run(correct=correct, seed=seed) for seed, correct in enumerate((92, 94, 96))]
    theirs = [run(correct=90, seed=seed) for seed in range(3)]
    found = accuracy_difference(entrant("a", "layer", *ours), entrant("b", "filter", *theirs))
    # Means of 92, 94 and 96 against 90: standard deviations 2 and 0, Student's factor for four degrees of freedom.
    of_seeds = 2.77645 * 0.02 / math.sqrt(3)
    assert (found.value, found.seeds) == (pytest.approx(0.04), 3)
    assert found.high - found.value > of_seeds
    assert found.high - found.value < of_seeds + 0.05


def test_the_sentence_of_one_seed_speaks_of_two_networks() -> None:
    first, second = entrant("a", "layer", run(correct=95)), entrant("b", "filter", run(correct=70))
    sentence = sentences.of_duel(first, second, fight(first, second, lambda *_: EQUAL))
    assert sentence == (
        "Layer pruning by criterion0 is more accurate: these two trained networks are equally fast, latency ratio "
        "1.000 (95 % interval 0.990 to 1.010), and the accuracy of layer pruning by criterion0 minus that of unaligned "
        "filter pruning by criterion0 is +25.0 points (95 % interval +15.9 to +33.1, 100 test images)."
    )


def test_a_tie_is_called_a_tie() -> None:
    first, second = entrant("a", "layer", run(correct=91)), entrant("b", "filter", run(correct=90))
    assert sentences.of_duel(first, second, fight(first, second, lambda *_: EQUAL)).startswith(
        "Tied: these two trained networks"
    )


@pytest.mark.parametrize(
    ("latency", "correct", "start"),
    [
        (
            FASTER,
            (95, 70),
            "Layer pruning by criterion0 is faster and more accurate: faster by 10.0 % (95 % interval 9.0 to 11.0 %), "
            "and for these two trained networks the accuracy of layer pruning by criterion0 minus that of",
        ),
        (
            SLOWER,
            (90, 91),
            "Unaligned filter pruning by criterion0 is faster by 10.0 % (95 % interval 9.0 to 11.0 %); "
            "no difference in accuracy is shown: for these two trained networks the accuracy of layer pruning",
        ),
        (
            FASTER,
            (70, 95),
            "Not comparable: layer pruning by criterion0 is faster by 10.0 % (95 % interval 9.0 to 11.0 %) "
            "but less accurate, a trade-off: for these two trained networks the accuracy of layer pruning",
        ),
    ],
)
def test_the_sentence_says_how_much_faster(latency: RatioEstimate, correct: tuple[int, int], start: str) -> None:
    first, second = entrant("a", "layer", run(correct=correct[0])), entrant("b", "filter", run(correct=correct[1]))
    assert sentences.of_duel(first, second, fight(first, second, lambda *_: latency)).startswith(start)
