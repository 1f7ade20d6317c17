"""A job from its request to its end, with a scripted worker."""

from __future__ import annotations

from typing import Any

import pytest


def show(client: Any, job: Any) -> dict[str, Any]:
    response = client.get(f"/v1/jobs/{job['id']}")
    assert response.status_code == 200
    view: dict[str, Any] = response.json()
    return view


def kinds(view: dict[str, Any]) -> list[str]:
    return [task["kind"] for task in view["tasks"]]


def test_a_job_runs_to_its_end(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    scripted.run()
    view = show(client, job)
    assert view["state"] == "done", view["message"]
    assert (view["progress"], view["seconds_left"]) == (1.0, None)
    assert kinds(view) == ["score", "sweep", *["build"] * 4, "measure"]


def test_the_time_is_told_by_phase(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    scripted.run()
    assert show(client, job)["seconds"] == {"measuring": 3.0, "scoring": 1.0, "training": 6.0}


def test_progress_grows_with_every_task(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    seen = [job["progress"]]
    while (task := scripted.claim()) is not None:
        scripted.send(task, scripted.answer(task))
        seen.append(show(client, job)["progress"])
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == 1


def test_a_finished_job_gives_the_next_its_estimate(scripted: Any, submit: Any, clock: Any) -> None:
    submit()
    while (task := scripted.claim()) is not None:
        clock.advance(30)
        scripted.send(task, scripted.answer(task))
    estimate = submit()["estimate"]
    assert "4 trainings of this model" in estimate["basis"]
    # Score, sweep, four builds and one group measured: seven times 30 seconds.
    assert estimate["minutes"] == pytest.approx(3.5)


def test_a_plan_of_two_criteria_is_built_once_and_names_both(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(pruning={"criteria": ["weight_l1", "imprinting"], "targets": {"latency_ratios": [0.85]}})
    scripted.run()
    rows = client.get("/v1/leaderboard", params={"job": job["id"], "method": "layer"}).json()["rows"]
    assert [row["criteria"] for row in rows] == [["weight_l1", "imprinting"]]


def test_with_amounts_nothing_is_swept(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(pruning={"criteria": ["weight_l1", "imprinting"], "amounts": [0.4]})
    scripted.run()
    view = show(client, job)
    # Two layer plans, one unaligned filter plan and one for each of two alignments.
    assert kinds(view) == ["score", *["build"] * 5, "measure"]
    assert view["state"] == "done"


def test_every_seed_is_a_training_of_its_own(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(training={"epochs": 1, "seeds": [3, 4]})
    scripted.run()
    rows = client.get("/v1/leaderboard", params={"job": job["id"], "method": "layer"}).json()["rows"]
    assert sorted(row["training_seed"] for row in rows) == [3, 3, 4, 4]


def test_every_condition_is_swept_and_measured(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(measure={"batch_sizes": [1, 8], "threads": [1, 2]})
    scripted.run()
    view = show(client, job)
    assert kinds(view).count("sweep") == kinds(view).count("measure") == 4
    assert len(client.get("/v1/leaderboard", params={"job": job["id"]}).json()["comparable_keys"]) == 4


def test_a_target_nobody_reaches_fails_the_job_and_says_why(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(pruning={"criteria": ["weight_l1", "imprinting"], "targets": {"latency_ratios": [0.2]}})
    scripted.run()
    view = show(client, job)
    assert (view["state"], view["reason"]) == ("failed", "target_unreachable")
    assert "layer pruning cannot reach 0.2 of the base's latency; the nearest it gets is 0.5" in view["message"]
    assert "because of depth" in view["message"]
    assert kinds(view) == ["score", "sweep"]


def test_a_target_in_ms_above_the_base_names_the_base(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(pruning={"criteria": ["weight_l1", "imprinting"], "targets": {"latency_ms": [2]}})
    scripted.run()
    view = show(client, job)
    assert view["reason"] == "target_unreachable"
    assert "fp32: the base takes 1 ms already, a target of 2 ms leaves nothing to prune" in view["message"]


def test_a_target_in_ms_is_a_ratio_of_the_swept_base(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(pruning={"criteria": ["weight_l1", "imprinting"], "targets": {"latency_ms": [0.7]}})
    scripted.run()
    assert kinds(show(client, job)).count("build") == 4


def test_one_failed_build_is_noted_and_the_job_goes_on(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    task = scripted.run(until="build")
    scripted.fail(task, "diverged", "loss is NaN")
    scripted.run()
    view = show(client, job)
    assert view["state"] == "done"
    assert [note for note in view["notes"] if "failed: diverged: loss is NaN" in note]


def test_a_job_without_a_variant_of_a_method_fails(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(
        pruning={"criteria": ["weight_l1"], "methods": ["layer", "filter"], "targets": {"latency_ratios": [0.7]}}
    )
    scripted.candidates = [one for one in scripted.candidates if one["criterion"] == "weight_l1"]
    while (task := scripted.claim()) is not None:
        if task["kind"] == "build" and task["title"].startswith("train layer"):
            scripted.fail(task, "diverged", "loss is NaN")
        else:
            scripted.send(task, scripted.answer(task))
    view = show(client, job)
    assert (view["state"], view["reason"]) == ("failed", "diverged")
    assert view["message"] == "no layer-pruned variant was measured on local-cpu"


def test_a_failed_score_fails_the_job(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    scripted.fail(scripted.claim(), "untraceable", "control flow on a traced value")
    view = show(client, job)
    assert (view["state"], view["reason"], view["message"]) == (
        "failed",
        "untraceable",
        "control flow on a traced value",
    )


def test_a_failed_measurement_fails_the_job(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    scripted.fail(scripted.run(until="measure"), "oom", "out of memory")
    view = show(client, job)
    assert (view["state"], view["reason"]) == ("failed", "oom")
    assert "no base was measured on local-cpu" in view["message"]


def test_a_network_without_candidates_fails_the_job(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    scripted.candidates = []
    scripted.run()
    view = show(client, job)
    assert view["reason"] == "target_unreachable"
    assert "layer pruning removes at most 60% of MACs, because of depth" in view["message"]


def test_cancelling_twice_is_the_same_as_once(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    scripted.run(until="build")
    answers = [client.post(f"/v1/jobs/{job['id']}/cancel").json() for _ in range(2)]
    assert [answer["state"] for answer in answers] == ["cancelled"] * 2
    assert scripted.claim() is None


def test_a_job_that_nobody_can_serve_says_what_it_waits_for(
    scripted: Any, submit: Any, client: Any, clock: Any, settings: Any
) -> None:
    job = submit()
    clock.advance(settings.worker_offline_s + 1)
    view = show(client, job)
    assert view["waiting_for"] == view["tasks"][0]["waiting_for"] == "no live worker offers role build"


def test_a_job_that_nobody_can_serve_expires(
    scripted: Any, submit: Any, client: Any, clock: Any, settings: Any
) -> None:
    job = submit()
    clock.advance(settings.job_expiry_days * 86_400 + 1)
    view = show(client, job)
    assert (view["state"], view["reason"]) == ("failed", "no_capable_worker")
    assert "role build" in view["message"]


def test_a_job_in_work_does_not_expire(scripted: Any, submit: Any, client: Any, clock: Any, settings: Any) -> None:
    job = submit()
    clock.advance(settings.job_expiry_days * 86_400 - 10)
    task = scripted.claim()
    clock.advance(20)
    scripted.send(task, scripted.answer(task))
    clock.advance(settings.worker_offline_s + 1)
    assert show(client, job)["state"] == "running"


def test_events_tell_the_history_in_order(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    scripted.run()
    found = client.get(f"/v1/jobs/{job['id']}/events").json()
    assert found["events"][0]["kind"] == "job_created"
    assert found["events"][-1]["kind"] == "job_done"
    assert client.get(f"/v1/jobs/{job['id']}/events", params={"after": found["next_after"]}).json()["events"] == []


def test_jobs_are_listed_in_pages_the_newest_first(scripted: Any, submit: Any, client: Any) -> None:
    ids = [submit(seed=seed)["id"] for seed in range(3)]
    first = client.get("/v1/jobs", params={"limit": 2}).json()
    second = client.get("/v1/jobs", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == ids[::-1]
    assert second["next_cursor"] is None


def test_a_foreign_cursor_is_refused(client: Any) -> None:
    response = client.get("/v1/jobs", params={"cursor": "nonsense"})
    assert response.status_code == 422
    assert response.json()["error"]["field"] == "cursor"


def test_an_unknown_job_is_not_found(client: Any) -> None:
    for path in ("", "/events", "/comparison"):
        assert client.get(f"/v1/jobs/none{path}").status_code == 404
    assert client.post("/v1/jobs/none/cancel").status_code == 404


def test_a_method_whose_variants_compute_something_else_fails_the_job(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    task = scripted.run(until="measure")
    result = scripted.answer(task)
    for accuracy in result["accuracies"]:
        accuracy["agrees"] = False
    scripted.send(task, result)
    view = show(client, job)
    assert (view["state"], view["reason"]) == ("failed", "output_mismatch")


def test_a_method_that_reaches_no_target_is_noted_and_the_other_goes_on(
    scripted: Any, submit: Any, client: Any
) -> None:
    job = submit(pruning={"criteria": ["weight_l1", "imprinting"], "targets": {"latency_ratios": [0.4]}})
    layers = [one["architecture"] for one in scripted.candidates if one["family"] == "layer"]
    scripted.ratios.update(dict.fromkeys(layers, 0.4))
    scripted.run()
    view = show(client, job)
    assert view["state"] == "done"
    assert sum("cannot reach 0.4" in note for note in view["notes"]) == 2
    (device,) = client.get(f"/v1/jobs/{job['id']}/comparison").json()["devices"]
    assert set(device["targets"][0]["missing"]) == {"filter", "filter_aligned", "hybrid"}
