"""A doubtful measurement is repeated once; the first is kept, and the one with fewer flagged rows counts."""

from __future__ import annotations

from typing import Any

import pytest


def show(client: Any, job: Any) -> dict[str, Any]:
    view: dict[str, Any] = client.get(f"/v1/jobs/{job['id']}").json()
    return view


def measuring(view: dict[str, Any]) -> list[dict[str, Any]]:
    return [task for task in view["tasks"] if task["kind"] == "measure"]


def rows_of(client: Any, job: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = client.get("/v1/leaderboard", params={"job": job["id"]}).json()["rows"]
    return rows


@pytest.fixture
def submit_one(scripted: Any, submit: Any) -> Any:
    """Submit a job with one plan, so that a measurement has three rows: base, control and variant."""
    scripted.candidates = [one for one in scripted.candidates if one["label"] == "layer weight_l1 2/1"]
    return lambda: submit(pruning={"methods": ["layer"], "criteria": ["weight_l1"], "amounts": [0.4]})


@pytest.fixture
def measured_twice(scripted: Any, submit_one: Any) -> Any:
    """Run a job whose measurement raises the first flags and then the second; gives the job."""

    def measured_twice(first: list[str], second: list[str]) -> dict[str, Any]:
        job: dict[str, Any] = submit_one()
        task = scripted.run(until="measure")
        scripted.flags = first
        assert scripted.send(task, scripted.answer(task)).status_code == 200
        scripted.flags = second
        scripted.run()
        return job

    return measured_twice


def test_a_stable_measurement_is_not_repeated(measured_twice: Any, client: Any) -> None:
    view = show(client, measured_twice([], ["steal"]))
    assert len(measuring(view)) == 1
    assert view["state"] == "done"


def test_a_note_is_no_reason_to_measure_again(measured_twice: Any, client: Any) -> None:
    assert len(measuring(show(client, measured_twice(["pressure"], [])))) == 1


def test_a_doubtful_measurement_is_repeated_and_the_clean_one_counts(measured_twice: Any, client: Any) -> None:
    job = measured_twice(["steal"], [])
    view = show(client, job)
    first, second = measuring(view)
    assert (first["repeats"], second["repeats"]) == (None, first["id"])
    assert second["title"] == f"{first['title']}, again because of steal"
    assert view["state"] == "done"
    assert any("3 of 3 rows were flagged at first, 0 the second time" in note for note in view["notes"])
    rows = rows_of(client, job)
    assert len(rows) == 2
    assert {row["verdict"] for row in rows} == {"stable"}


def test_the_first_measurement_is_kept_with_its_variants(measured_twice: Any, client: Any) -> None:
    job = measured_twice(["steal"], [])
    variant = client.get(f"/v1/variants/{rows_of(client, job)[0]['variant']}").json()
    assert [(row["superseded"], row["verdict"]) for row in variant["measurements"]] == [
        (False, "stable"),
        (True, "flagged"),
    ]
    page = client.get(f"/variants/{variant['id']}", headers={"Accept": "text/html"}).text
    assert "measured again" in page


def test_a_measurement_that_stays_doubtful_is_repeated_only_once(measured_twice: Any, client: Any) -> None:
    job = measured_twice(["steal"], ["steal", "foreign_load"])
    view = show(client, job)
    assert len(measuring(view)) == 2
    assert view["state"] == "done"
    rows = rows_of(client, job)
    assert len(rows) == 2
    # Of two alike the second counts.
    assert all("foreign_load" in row["flags"] for row in rows)


def test_the_first_counts_if_the_second_is_more_doubtful(scripted: Any, submit_one: Any, client: Any) -> None:
    job = submit_one()
    task = scripted.run(until="measure")
    result = scripted.answer(task)
    # One session whose interval is wide: a single flagged row.
    wide = result["groups"][0]["sessions"][2]
    wide.update(scripted.session(wide["session"], 0.7, seed=3, noise=0.2))
    assert scripted.send(task, result).status_code == 200
    scripted.flags = ["steal"]
    scripted.run()
    view = show(client, job)
    assert any("the first measurement counts" in note for note in view["notes"])
    assert [row["verdict"] for row in rows_of(client, job)].count("flagged") == 1


def test_what_would_be_raised_again_is_no_reason_to_repeat(measured_twice: Any, client: Any) -> None:
    assert len(measuring(show(client, measured_twice(["not_coresident"], [])))) == 1


def test_a_comparison_has_each_plan_once(measured_twice: Any, client: Any) -> None:
    job = measured_twice(["steal"], [])
    assert len(client.get(f"/v1/jobs/{job['id']}/comparison").json()["devices"]) == 1


def test_a_repetition_that_fails_leaves_the_first(scripted: Any, submit_one: Any, client: Any) -> None:
    job = submit_one()
    scripted.flags = ["steal"]
    task = scripted.run(until="measure")
    scripted.send(task, scripted.answer(task))
    again = scripted.claim()
    assert scripted.fail(again, "crashed", "it broke").status_code == 200
    assert show(client, job)["state"] == "done"
    assert {row["verdict"] for row in rows_of(client, job)} == {"flagged"}


def test_a_job_that_only_waits_for_a_repetition_ends_well(
    scripted: Any, submit_one: Any, client: Any, clock: Any, settings: Any
) -> None:
    job = submit_one()
    scripted.flags = ["steal"]
    task = scripted.run(until="measure")
    scripted.send(task, scripted.answer(task))
    clock.advance(settings.job_expiry_days * 86_400 + 60)
    view = show(client, job)
    assert view["state"] == "done"
    assert any("not measured again: no live worker" in note for note in view["notes"])


def test_the_result_that_asks_for_a_repetition_may_come_twice(scripted: Any, submit_one: Any, client: Any) -> None:
    job = submit_one()
    scripted.flags = ["steal"]
    task = scripted.run(until="measure")
    result = scripted.answer(task)
    assert [scripted.send(task, result).status_code for _ in range(2)] == [200, 200]
    assert len(measuring(show(client, job))) == 2
