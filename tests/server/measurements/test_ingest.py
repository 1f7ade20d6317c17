"""Results are untrusted: what does not agree with its own samples, or was not asked for, is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from layerprune.samples import Block, ProcessSamples, SampleSet, encode, pack_outcomes
from server.models import Conditions

Result = dict[str, Any]


def session(result: Result, number: int = 0) -> Result:
    found: Result = result["groups"][0]["sessions"][number]
    return found


def spoil_session(name: str, value: Any) -> Callable[[Result], None]:
    def spoil(result: Result) -> None:
        session(result)[name] = value

    return spoil


def spoil_accuracy(**changes: Any) -> Callable[[Result], None]:
    def spoil(result: Result) -> None:
        result["accuracies"][0].update(changes)

    return spoil


def drop_session(result: Result) -> None:
    result["groups"][0]["sessions"].pop()


def drop_control(result: Result) -> None:
    sessions = result["groups"][0]["sessions"]
    sessions[:] = [one for one in sessions if one["session"] != "aa"]


def add_foreign_session(result: Result) -> None:
    sessions = result["groups"][0]["sessions"]
    sessions.append(sessions[-1] | {"session": "foreign"})


def repeat_session(result: Result) -> None:
    sessions = result["groups"][0]["sessions"]
    sessions.append(dict(sessions[-1]))


def drop_accuracy(result: Result) -> None:
    result["accuracies"].pop()


def add_part(name: str, p50_ns: int = 1) -> Callable[[Result], None]:
    def spoil(result: Result) -> None:
        one = session(result)
        one["parts"] = {name: {"samples": one["samples"], "p50_ns": p50_ns}}

    return spoil


def observe_too_much(result: Result) -> None:
    result["groups"][0]["observed"] = {"log": "x" * 600_000}


def report_too_many_facts(result: Result) -> None:
    session(result)["facts"] = {"other": {"log": "x" * 20_000}}


def raise_unknown_flag(result: Result) -> None:
    result["groups"][0]["flags"] = ["tired"]


def change_threads(result: Result) -> None:
    result["conditions"]["threads"] = 2


def add_field(result: Result) -> None:
    result["mood"] = "good"


def fewer_images(result: Result) -> None:
    result["accuracies"][0].update(n=100, correct=100, outcomes=pack_outcomes(np.ones(100, dtype=bool)))


WRONG: list[tuple[Callable[[Result], None], str]] = [
    (spoil_session("n_samples", 7), "claims n_samples 7, its samples say 144"),
    (spoil_session("p50_ns", 5), "claims p50_ns 5, its samples say"),
    (spoil_session("p50_ns", -5), "greater than or equal to 1"),
    (spoil_session("p50_ns", 1.5), "valid integer"),
    (spoil_session("samples", "0" * 64), "was not uploaded"),
    (spoil_session("samples", "../../admin-token"), "was not uploaded"),
    (drop_session, "are missing"),
    (drop_control, "0 sessions 'aa'"),
    (add_foreign_session, "were not asked for: foreign"),
    (repeat_session, "more than once"),
    (drop_accuracy, "no accuracy of"),
    (spoil_accuracy(correct=521), "claims 521 correct answers, its outcomes hold 520"),
    (spoil_accuracy(correct=-1), "greater than or equal to 0"),
    (spoil_accuracy(outcomes="!"), "not base64"),
    (spoil_accuracy(session="foreign"), "was not asked for"),
    (fewer_images, "evaluated on 100 images, the evaluation pack holds 540"),
    (raise_unknown_flag, "unknown flag 'tired'"),
    (change_threads, "threads was to be 1, the conditions say 2"),
    (add_field, "Extra inputs are not permitted"),
    (add_part("device"), "part 'device' of session 'base' claims p50_ns 1, its samples say"),
    (add_part("feelings"), "Input should be 'device', 'enqueue', 'to_device' or 'from_device'"),
    (observe_too_much, "groups.0.observed takes 600010 bytes, the limit is 524288"),
    (report_too_many_facts, "bytes, the limit is 16384"),
]


def test_a_measurement_that_cannot_be_right_is_refused(
    scripted: Any, submit: Any, client: Any, subtests: pytest.Subtests
) -> None:
    job = submit()
    task = scripted.run(until="measure")
    right = json.dumps(scripted.answer(task))
    for spoil, words in WRONG:
        with subtests.test(words):
            wrong = json.loads(right)
            spoil(wrong)
            response = scripted.send(task, wrong)
            assert response.status_code == 422, response.text
            assert words in response.json()["error"]["message"]
            assert response.json()["error"]["field"]
    assert rows_of(client, job) == {}
    # The attempt keeps its lease, so that the worker can mend its report or say that it failed.
    assert scripted.send(task, json.loads(right)).status_code == 200
    assert len(rows_of(client, job)) == 5


def test_nan_is_refused(scripted: Any, submit: Any) -> None:
    submit()
    task = scripted.run(until="measure")
    response = scripted.http.post(
        f"/v1/attempts/{task['attempt_id']}/result",
        headers={"Layerprune-Lease": task["lease_token"], "Content-Type": "application/json"},
        content=b'{"attempt_no": 1, "result": {"seconds": {"measuring": NaN}}}',
    )
    assert response.status_code == 422
    assert "NaN" in response.json()["error"]["message"]


def test_samples_of_another_process_count_are_refused(scripted: Any, submit: Any) -> None:
    submit()
    task = scripted.run(until="measure")
    result = scripted.answer(task)
    scripted.processes = 2
    last = session(result, -1)
    last.update(scripted.session(last["session"], 0.7, seed=9))
    response = scripted.send(task, result)
    assert response.status_code == 422
    assert "2 and 1 processes" in response.json()["error"]["message"]


def test_a_sweep_is_checked_like_a_measurement(scripted: Any, submit: Any) -> None:
    submit()
    task = scripted.run(until="sweep")
    result = scripted.answer(task)
    session(result)["p50_ns"] += 1
    response = scripted.send(task, result)
    assert response.status_code == 422
    assert "its samples say" in response.json()["error"]["message"]


def test_a_candidate_that_was_not_asked_for_is_refused(scripted: Any, submit: Any) -> None:
    submit(pruning={"criteria": ["weight_l1"], "targets": {"latency_ratios": [0.7]}})
    task = scripted.claim()
    response = scripted.send(task, scripted.answer(task))
    assert response.status_code == 422
    assert "'imprinting' was not asked for" in response.json()["error"]["message"]


def test_a_variant_of_another_size_than_its_plan_is_refused(scripted: Any, submit: Any) -> None:
    submit()
    task = scripted.run(until="build")
    result = scripted.answer(task)
    result["network"]["params"] += 1
    response = scripted.send(task, result)
    assert response.status_code == 422
    assert "its plan leaves" in response.json()["error"]["message"]


def rows_of(client: Any, job: Any) -> dict[str, Any]:
    rows = client.get("/v1/leaderboard", params={"job": job["id"]}).json()["rows"]
    return {row["label"]: row for row in rows}


def test_numbers_are_recomputed_from_the_samples(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    task = scripted.run(until="measure")
    result = scripted.answer(task)
    # Every sample of the variant is half a millisecond exactly, every one of the base a millisecond.
    for number, nanoseconds in ((0, 1_000_000), (1, 1_000_000), (2, 500_000)):
        blocks = tuple(Block(c, p, np.full(12, nanoseconds)) for c in range(6) for p in (0, 9))
        samples = SampleSet((ProcessSamples(blocks, 50),))
        digest = scripted.upload(encode(samples))
        session(result, number).update(samples=digest, n_samples=144, p50_ns=nanoseconds)
    name = session(result, 2)["session"]
    assert scripted.send(task, result).status_code == 200
    row = next(row for row in rows_of(client, job).values() if row["variant"] == name)
    assert (row["p50_ns"], row["p90_ns"], row["p99_ns"], row["n_samples"]) == (500_000, 500_000, None, 144)
    assert row["ratio"] == {"value": pytest.approx(0.5), "ci_low": pytest.approx(0.5), "ci_high": pytest.approx(0.5)}
    assert (row["verdict"], row["flags"]) == ("stable", ["single_process"])


def test_a_flag_of_the_worker_reaches_every_row_of_its_group(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    scripted.flags = ["foreign_load"]
    scripted.run()
    assert {row["verdict"] for row in rows_of(client, job).values()} == {"flagged"}


def test_a_base_that_differs_from_itself_is_flagged(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    task = scripted.run(until="measure")
    result = scripted.answer(task)
    session(result, 1).update(scripted.session("aa", 1.05, seed=1))
    assert scripted.send(task, result).status_code == 200
    rows = rows_of(client, job).values()
    assert all("aa_off" in row["flags"] and row["verdict"] == "flagged" for row in rows)


@pytest.mark.parametrize("how", ["the session says so", "the accuracies differ"])
def test_a_session_that_computes_something_else_is_invalid(scripted: Any, submit: Any, client: Any, how: str) -> None:
    job = submit()
    task = scripted.run(until="measure")
    result = scripted.answer(task)
    accuracy = result["accuracies"][1]
    if how == "the session says so":
        accuracy["agrees"] = False
    else:
        accuracy.update(scripted.accuracy(accuracy["session"], 517))
    assert scripted.send(task, result).status_code == 200
    verdicts = {row["variant"]: row["verdict"] for row in rows_of(client, job).values()}
    assert verdicts.pop(accuracy["session"]) == "invalid"
    assert set(verdicts.values()) == {"stable"}


def test_the_conditions_hold_what_the_server_knows(scripted: Any, submit: Any, app: Any) -> None:
    submit()
    scripted.run()
    with app.state.read_sessions() as found:
        keys = [row.key for row in found.scalars(select(Conditions))]
    measured = next(key for key in keys if "stage" not in key)
    assert (measured["exporter"], measured["opset"], measured["backend"]) == ("torchscript", 18, "onnxruntime")


def test_rows_of_the_null_backend_are_on_no_leaderboard(scripted: Any, submit: Any, client: Any) -> None:
    job = submit(measure={"backend": "null"})
    scripted.run()
    assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "done"
    assert rows_of(client, job) == {}


def test_parts_are_recomputed_and_facts_are_kept_as_reported(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    task = scripted.run(until="measure")
    result = scripted.answer(task)
    own = session(result, 2)
    own["parts"] = {
        "device": {name: scripted.session("device", 0.5, seed=1)[name] for name in ("samples", "p50_ns")},
        "enqueue": {name: scripted.session("enqueue", 0.45, seed=2)[name] for name in ("samples", "p50_ns")},
    }
    own["facts"] = {
        "load_ns": 5_000_000,
        "peak_memory_bytes": 2**20,
        "energy_mj": 1.5,
        "throughput": [{"batch_size": 16, "images_per_s": 900.0}],
    }
    assert scripted.send(task, result).status_code == 200
    row = next(row for row in rows_of(client, job).values() if row["variant"] == own["session"])
    assert row["parts"]["device"]["p50_ns"] == own["parts"]["device"]["p50_ns"]
    assert row["parts"]["device"]["p90_ns"] > row["parts"]["device"]["p50_ns"]
    assert (row["facts"]["load_ns"], row["facts"]["energy_mj"]) == (5_000_000, 1.5)
    # Enqueueing takes nine tenths of the device's time.
    assert (row["verdict"], row["flags"]) == ("stable", ["enqueue_bound", "single_process"])
    page = client.get(f"/jobs/{job['id']}", headers={"Accept": "text/html"}).text
    assert "900 images/s" in page
    assert "1.0 MiB" in page
    table = client.get("/leaderboard.csv", params={"job": job["id"]}).text
    assert "5000000" in table


def test_rows_of_an_emulated_device_are_on_no_leaderboard(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    task = scripted.run(until="measure")
    result = scripted.answer(task)
    result["conditions"]["emulated"] = "x86_64"
    assert scripted.send(task, result).status_code == 200
    assert rows_of(client, job) == {}
    assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "done"


def test_tails_are_given_as_far_as_the_samples_reach(scripted: Any, submit: Any, client: Any) -> None:
    job = submit()
    scripted.run()
    row = next(iter(rows_of(client, job).values()))
    # 144 samples: enough for p95, too few for p99 and p99.9.
    assert row["p90_ns"] <= row["p95_ns"]
    assert (row["p99_ns"], row["p999_ns"]) == (None, None)
