"""Rounds of solving and timing: budgets are searched for, measured, and corrected until they are met."""

from __future__ import annotations

from typing import Any

import pytest

HYBRID = {"methods": ["layer", "hybrid"], "criteria": ["weight_l1"], "targets": {"latency_ratios": [0.7]}}


def show(client: Any, job: Any) -> dict[str, Any]:
    return dict(client.get(f"/v1/jobs/{job['id']}").json())


def kinds(view: dict[str, Any]) -> list[str]:
    return [task["kind"] for task in view["tasks"]]


def test_solutions_are_timed_before_plans_are_chosen(scripted: Any, searching: Any, submit: Any, client: Any) -> None:
    job = submit(pruning=HYBRID)
    scripted.run()
    view = show(client, job)
    assert view["state"] == "done", view["message"]
    assert kinds(view) == ["score", "sweep", "search", "sweep", "build", "build", "measure"]
    rows = client.get("/v1/leaderboard", params={"job": job["id"]}).json()["rows"]
    assert sorted(row["family"] for row in rows) == ["base", "hybrid", "layer"]


def test_progress_grows_through_all_rounds(scripted: Any, searching: Any, submit: Any, client: Any) -> None:
    searching.found = [0.8, 0.75, 0.69]
    job = submit(pruning=HYBRID | {"max_trainings": 1})
    seen = [job["progress"]]
    while (task := scripted.claim()) is not None:
        scripted.send(task, scripted.answer(task))
        seen.append(show(client, job)["progress"])
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_the_search_knows_what_was_measured(scripted: Any, searching: Any, submit: Any) -> None:
    searching.found = [0.8, 0.69]
    submit(pruning=HYBRID)
    first = scripted.run(until="search")["payload"]
    (place,) = first["places"]
    assert (first["round"], place["targets"], place["tried"]) == (1, [0.7], [])
    assert {edit["target"] for edit in first["edits"]} == {"layer1", "layer2"}
    assert place["ratios"][scripted.edits[0]["architecture"]] == pytest.approx(0.9, rel=0.01)


def test_a_missed_target_is_searched_again_with_what_was_tried(
    scripted: Any, searching: Any, submit: Any, client: Any
) -> None:
    searching.found = [0.8, 0.69]
    job = submit(pruning=HYBRID)
    scripted.send(task := scripted.run(until="search"), scripted.answer(task))
    second = scripted.run(until="search")
    (tried,) = second["payload"]["places"][0]["tried"]
    assert second["payload"]["round"] == 2
    assert tried["measured"] == pytest.approx(0.8, rel=0.01)
    assert tried["solved"]["target"] == 0.7
    scripted.send(second, scripted.answer(second))
    scripted.run()
    assert kinds(show(client, job)).count("search") == 2


def test_three_rounds_are_the_most(scripted: Any, searching: Any, submit: Any, client: Any) -> None:
    searching.found = [0.9, 0.85, 0.8, 0.75]
    job = submit(pruning=HYBRID)
    scripted.run()
    view = show(client, job)
    assert kinds(view).count("search") == 3
    assert view["state"] == "done"


def test_a_search_that_finds_nothing_new_is_the_last(scripted: Any, searching: Any, submit: Any, client: Any) -> None:
    searching.found = [0.8]
    job = submit(pruning=HYBRID)
    scripted.run()
    assert kinds(show(client, job)) == ["score", "sweep", "search", "sweep", "search", "build", "measure"]


@pytest.mark.parametrize("kind", ["search", "trial"])
def test_the_job_goes_on_without_a_failed_step(
    scripted: Any, searching: Any, submit: Any, client: Any, kind: str
) -> None:
    job = submit(pruning=HYBRID | {"max_trainings": 1})
    scripted.fail(scripted.run(until=kind), "crashed", "no memory")
    scripted.run()
    view = show(client, job)
    assert view["state"] == "done", view["message"]
    assert [note for note in view["notes"] if "failed: crashed: no memory" in note]


def test_a_job_without_edits_is_not_searched(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(pruning=HYBRID)
    scripted.candidates = [one for one in scripted.candidates if one["method"] == "layer"]
    scripted.candidates = [one for one in scripted.candidates if one["criterion"] == "weight_l1"]
    scripted.run()
    assert "search" not in kinds(show(client, job))


def test_amounts_are_not_searched(scripted: Any, searching: Any, submit: Any, client: Any) -> None:
    job = submit(pruning={"methods": ["layer", "hybrid"], "criteria": ["weight_l1"], "amounts": [0.4]})
    scripted.run()
    assert kinds(show(client, job)) == ["score", "build", "measure"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"place": "elsewhere"}, "is not a place of the task"),
        ({"target": 0.5}, "was not asked for there"),
        ({"plan_hash": "0" * 64}, "is no candidate's"),
        ({"architecture": "0" * 64}, "was not exported"),
    ],
)
def test_a_solution_that_cannot_be_right_is_refused(
    scripted: Any, searching: Any, submit: Any, change: Any, words: str
) -> None:
    submit(pruning=HYBRID)
    task = scripted.run(until="search")
    result = scripted.answer(task)
    result["solved"][0] |= change
    response = scripted.send(task, result)
    assert response.status_code == 422
    assert words in response.json()["error"]["message"]


def test_a_plan_that_is_not_faster_is_named(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    slow = next(one for one in scripted.candidates if one["family"] == "filter")
    scripted.ratios[slow["architecture"]] = 1.2
    scripted.run()
    (note,) = [note for note in show(client, job)["notes"] if "not faster than the base" in note]
    assert note.startswith("local-cpu, onnxruntime, batch 1, 1 thread, fp32: unaligned filter pruning")
    assert slow["label"] in note


def test_a_plan_that_removes_nothing_is_named_and_left_out(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    task = scripted.claim()
    result = scripted.answer(task)
    nothing = result["candidates"][0]
    nothing["architecture"] = same = result["base"]["architecture"]
    result["architectures"].append(result["architectures"][0] | {"architecture": same})
    scripted.ratios[same] = 1.0
    scripted.send(task, result)
    scripted.run()
    view = show(client, job)
    assert any(note == f"removes nothing and is left out: {nothing['label']}" for note in view["notes"])
    assert not any(nothing["label"] in task["title"] for task in view["tasks"])


def test_a_large_network_is_timed_in_part_first(scripted: Any, submit: Any, client: Any, clock: Any) -> None:
    scripted.base_macs = 50 * 10**9
    submit(pruning={"criteria": ["weight_l1", "imprinting"], "max_sweep_minutes": 10})
    task = scripted.run(until="sweep")
    assert len(task["payload"]["architectures"]) == 6
    clock.advance(60)
    scripted.send(task, scripted.answer(task))
    rest = scripted.claim()
    # Ten seconds each, of which sixty seconds are spent: the nine that are left fit.
    assert (rest["kind"], len(rest["payload"]["architectures"])) == ("sweep", 6)
    assert "about 1 min" in rest["title"]


def test_the_first_sweep_leaves_a_third_of_its_time_to_the_solutions(searching: Any, submit: Any, clock: Any) -> None:
    worker, (first, *_) = searching.worker, searching.worker.edits
    worker.base_macs = 50 * 10**9
    for number in range(10):
        name = f"{number:064x}"
        worker.edits.append(first | {"id": f"layer:{number}", "target": str(number), "architecture": name})
        worker.ratios[name] = 0.9
    submit(pruning={"criteria": ["weight_l1"], "methods": ["layer", "hybrid"], "max_sweep_minutes": 3})
    task = worker.run(until="sweep")
    clock.advance(60)
    worker.send(task, worker.answer(task))
    # Ten seconds each: of 180 seconds 60 are spent and 60 kept.
    assert len(worker.claim()["payload"]["architectures"]) == 6


def test_what_exceeds_the_sweeps_budget_is_left_out_and_noted(
    scripted: Any, submit: Any, client: Any, clock: Any
) -> None:
    scripted.base_macs = 50 * 10**9
    job = submit(pruning={"criteria": ["weight_l1", "imprinting"], "max_sweep_minutes": 1.6})
    task = scripted.run(until="sweep")
    clock.advance(60)
    scripted.send(task, scripted.answer(task))
    rest = scripted.claim()
    # Ten seconds each, and 36 of 96 seconds are left.
    assert len(rest["payload"]["architectures"]) == 3
    assert [note for note in show(client, job)["notes"] if "3 of 6 architectures were not timed" in note]
