"""Fewer trainings than plans: what is kept is the most accurate of every family at every target."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.jobs.select import Pick, Use
from server.jobs.trials import Limit, keep_best


def show(client: Any, job: Any) -> dict[str, Any]:
    return dict(client.get(f"/v1/jobs/{job['id']}").json())


def kinds(view: dict[str, Any]) -> list[str]:
    return [task["kind"] for task in view["tasks"]]


def pick(name: str, family: Any = "layer", target: int = 0, tier: int = 0) -> Pick:
    return Pick(name, family, (Use(tier, 0, target, family),))


def kept(picks: list[Pick], accuracies: dict[str, float], most: int) -> list[str]:
    cost = dict.fromkeys((one.plan_hash for one in picks), 1.0)
    return [one.plan_hash for one in keep_best(picks, accuracies, Limit(most, float("inf"), cost))]


def test_the_most_accurate_of_a_family_is_kept() -> None:
    assert kept([pick("a"), pick("b"), pick("c")], {"a": 0.1, "b": 0.3, "c": 0.2}, 2) == ["b", "c"]


def test_no_family_loses_its_last_plan_for_a_target() -> None:
    picks = [pick("a"), pick("b"), pick("poor", "filter"), pick("far", target=1)]
    assert kept(picks, {"a": 0.9, "b": 0.8, "poor": 0.1, "far": 0.2}, 3) == ["a", "poor", "far"]


def test_a_plan_for_two_targets_counts_for_both() -> None:
    both = Pick("both", "layer", (Use(0, 0, 0, "layer"), Use(0, 0, 1, "layer")))
    assert kept([both, pick("one", target=1), pick("f", "filter")], {"both": 0.9, "one": 0.8, "f": 0.1}, 2) == [
        "both",
        "f",
    ]


def test_a_plan_on_the_target_comes_before_those_beside_it() -> None:
    assert kept([pick("fast", tier=1), pick("hit", "filter")], {"fast": 0.9, "hit": 0.1}, 1) == ["hit"]


def test_a_plan_of_unknown_accuracy_comes_last() -> None:
    assert kept([pick("unknown"), pick("poor")], {"poor": 0.1}, 1) == ["poor"]


def test_plans_are_kept_while_there_is_time_to_train_them() -> None:
    picks = [pick("a"), pick("b"), pick("c")]
    limit = Limit(10, 5.0, {"a": 3.0, "b": 3.0, "c": 2.0})
    assert [one.plan_hash for one in keep_best(picks, {"a": 0.9, "b": 0.8, "c": 0.7}, limit)] == ["a", "c"]


PICKS = st.lists(
    st.tuples(st.sampled_from(["layer", "filter", "hybrid"]), st.integers(0, 2), st.integers(0, 2), st.floats(0, 1)),
    max_size=20,
)


@given(PICKS, st.integers(1, 25))
def test_as_many_as_allowed_are_kept_and_groups_are_served_in_turn(rows: Any, most: int) -> None:
    picks = [pick(str(i), family, target, tier) for i, (family, target, tier, _) in enumerate(rows)]
    names = kept(picks, {str(i): accuracy for i, (*_, accuracy) in enumerate(rows)}, most)
    assert len(names) == len(set(names)) == min(most, len(picks))
    groups = {one.uses[0] for one in picks}
    served = {one.uses[0] for one in picks if one.plan_hash in names}
    assert len(served) == min(most, len(groups))


def test_within_the_limit_nothing_is_tried(scripted: Any, trying: Any, submit: Any, client: Any) -> None:
    job = submit(pruning={"criteria": ["weight_l1", "imprinting"], "targets": {"latency_ratios": [0.7]}})
    scripted.run()
    assert "trial" not in kinds(show(client, job))


def test_what_is_wanted_beyond_the_limit_is_tried_and_the_best_are_built(
    scripted: Any, trying: Any, submit: Any, client: Any
) -> None:
    scripted.candidates = [one for one in scripted.candidates if one["method"] == "layer"]
    pruning = {"methods": ["layer"], "criteria": ["weight_l1", "imprinting"], "targets": {"latency_ratios": [0.7]}}
    job = submit(pruning=pruning | {"max_trainings": 1})
    task = scripted.run(until="trial")
    poor, good = [plan["plan_hash"] for plan in task["payload"]["plans"]]
    trying.accuracies = {poor: 50, good: 150}
    scripted.send(task, scripted.answer(task))
    assert scripted.run(until="build")["payload"]["plan_hash"] == good
    labels = {one["plan_hash"]: one["label"] for one in scripted.candidates}
    (note,) = [note for note in show(client, job)["notes"] if "were cut" in note]
    assert note == (
        "2 plans were wanted and the limit of trainings allows 1; 1 were cut by validation accuracy "
        f"after re-estimating batch norm: {labels[poor]}"
    )


def test_many_plans_take_a_second_trial_with_an_epoch(scripted: Any, trying: Any, submit: Any, client: Any) -> None:
    pruning = {"criteria": ["weight_l1", "imprinting"], "targets": {"latency_ratios": [0.85, 0.7, 0.5]}}
    job = submit(pruning=pruning | {"max_trainings": 2}, training={"epochs": 5})
    first = scripted.run(until="trial")
    scripted.send(first, scripted.answer(first))
    second = scripted.run(until="trial")
    assert [task["payload"]["epochs"] for task in (first, second)] == [0, 1]
    assert len(second["payload"]["plans"]) < len(first["payload"]["plans"])
    scripted.send(second, scripted.answer(second))
    scripted.run()
    view = show(client, job)
    assert kinds(view).count("build") == 2
    assert view["state"] == "done", view["message"]


def test_the_hours_for_builds_are_a_limit_too(scripted: Any, trying: Any, submit: Any, client: Any) -> None:
    scripted.epoch_seconds = 1800.0
    scripted.candidates = [one for one in scripted.candidates if one["method"] == "layer"]
    pruning = {"methods": ["layer"], "criteria": ["weight_l1", "imprinting"], "targets": {"latency_ratios": [0.7]}}
    job = submit(pruning=pruning | {"max_build_hours": 0.5})
    scripted.run()
    # One epoch of a network with 0.6 of the base's MACs, beside its teacher: 0.47 hours.
    assert kinds(show(client, job)) == ["score", "sweep", "trial", "build", "measure"]


def test_hours_that_cannot_be_told_are_said_to_be_no_limit(
    scripted: Any, trying: Any, submit: Any, client: Any
) -> None:
    job = submit(pruning={"criteria": ["weight_l1"], "targets": {"latency_ratios": [0.7]}, "max_build_hours": 0.01})
    scripted.candidates = [one for one in scripted.candidates if one["criterion"] == "weight_l1"]
    task = scripted.claim()
    result = scripted.answer(task)
    result["base"]["curve"] = []
    scripted.send(task, result)
    scripted.run()
    view = show(client, job)
    assert kinds(view).count("build") == 3
    assert [note for note in view["notes"] if "max_build_hours cannot be held" in note]
