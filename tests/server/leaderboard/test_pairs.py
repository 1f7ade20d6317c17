"""Rows compared by hand: within one set of conditions, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from server.leaderboard.pairs import differences


def test_differences_name_every_condition_that_differs_with_both_values() -> None:
    one = {"threads": 1, "clock_policy": {"boost": "1", "governor": "performance"}, "os": "Debian"}
    two = {"threads": 2, "clock_policy": {"boost": "0", "governor": "performance"}, "os": "Debian", "driver": "580"}
    assert differences(one, two) == {"clock_policy.boost": ["1", "0"], "driver": [None, "580"], "threads": [1, 2]}


TWO_PLANS = {"methods": ["layer"], "criteria": ["weight_l1", "imprinting"], "amounts": [0.4]}


@pytest.fixture
def rows(scripted: Any, submit: Any, client: Any) -> dict[int, list[dict[str, Any]]]:
    """Rows of a job that was measured with one thread and with two, by the number of threads, the fastest first."""
    scripted.candidates = [one for one in scripted.candidates if one["plan"] == {"family": "layer", "step": 2}]
    job = submit(pruning=TWO_PLANS, measure={"threads": [1, 2]})
    scripted.run()
    found = client.get("/v1/leaderboard", params={"job": job["id"]}).json()["rows"]
    return {threads: [row for row in found if row["threads"] == threads] for threads in (1, 2)}


def compare(client: Any, *found: dict[str, Any]) -> Any:
    return client.get("/v1/latencies", params={"measurement": [row["measurement"] for row in found]})


def test_rows_of_one_set_of_conditions_are_compared_with_the_first(rows: Any, client: Any) -> None:
    fast, *_, base = rows[1]
    answer = compare(client, base, fast).json()
    (pair,) = answer["pairs"]
    assert (pair["verdict"], pair["measurement"]) == ("faster", fast["measurement"])
    assert pair["ratio"]["value"] == pytest.approx(0.7, rel=0.01)
    assert "faster" in pair["sentence"]
    back = compare(client, fast, base).json()["pairs"][0]
    assert (back["verdict"], back["ratio"]["value"]) == ("slower", pytest.approx(1 / pair["ratio"]["value"], rel=0.001))
    (alike,) = compare(client, *rows[1][:2]).json()["pairs"]
    assert alike["verdict"] == "tied"
    assert "a tie" in alike["sentence"]
    params = {"measurement": [base["measurement"], fast["measurement"]]}
    page = client.get("/compare", params=params, headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "<td>faster</td>" in page.text


def test_rows_of_different_conditions_are_refused_with_what_differs(rows: Any, client: Any) -> None:
    response = compare(client, rows[1][0], rows[2][0])
    assert response.status_code == 422
    error = response.json()["error"]
    assert (error["code"], error["value"]) == ("not_comparable", {"threads": [1, 2]})
    assert "different conditions: threads is 1 and 2" in error["message"]
    assert "same comparable_key" in error["remedy"]
    params = {"measurement": [rows[1][0]["measurement"], rows[2][0]["measurement"]]}
    page = client.get("/compare", params=params, headers={"Accept": "text/html"})
    assert page.status_code == 422
    assert "threads is 1 and 2" in page.text


def test_rows_of_two_jobs_are_compared_by_their_latencies(scripted: Any, submit: Any, client: Any) -> None:
    scripted.candidates = [one for one in scripted.candidates if one["plan"] == {"family": "layer", "step": 2}]
    found = []
    for ratio in (0.7, 0.6):
        scripted.ratios = dict.fromkeys(scripted.ratios, ratio)
        job = submit(pruning=TWO_PLANS)
        scripted.run()
        found.append(client.get("/v1/leaderboard", params={"job": job["id"]}).json()["rows"][0])
    (pair,) = compare(client, *found).json()["pairs"]
    assert pair["ratio"]["value"] == pytest.approx(found[1]["p50_ns"] / found[0]["p50_ns"])
    assert pair["verdict"] == "faster"


def test_one_row_alone_and_unknown_rows_are_refused(rows: Any, client: Any) -> None:
    row = rows[1][0]
    assert compare(client, row, row).status_code == 422
    assert client.get("/v1/latencies").status_code == 422
    assert compare(client, {"measurement": "none"}, row).status_code == 404


def test_a_leaderboard_can_be_narrowed_to_one_set_of_conditions(rows: Any, client: Any) -> None:
    key = rows[2][0]["comparable_key"]
    found = client.get("/v1/leaderboard", params={"comparable_key": key}).json()
    assert {row["threads"] for row in found["rows"]} == {2}
    assert found["comparable_keys"] == [key]
