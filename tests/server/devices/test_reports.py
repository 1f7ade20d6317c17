"""Device reports over HTTP: who may send them, what is refused, and what they do to measured rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from layerprune.api.client import Client
from layerprune.api.device_reports import DeviceReport
from layerprune.api.errors import NotAllowed

Record = dict[str, Any]


def send(client: httpx.Client, record: Record, device: str = "local-cpu") -> httpx.Response:
    return client.post(f"/v1/devices/{device}/reports", json=record)


def spoil(record: Record, **changes: Any) -> Record:
    record["backends"][0]["networks"][0]["timing"].update(changes)
    return record


def test_a_report_comes_back_as_it_was_sent(client: httpx.Client, register: Any, record: Record) -> None:
    register()
    sent = send(client, record)
    assert sent.status_code == 201, sent.text
    (proof,) = sent.json()["proofs"]
    assert (proof["backend"], proof["version"], proof["passed"]) == ("tensorrt", "1.23", True)
    (listed,) = client.get("/v1/devices/local-cpu/reports").json()
    assert listed["id"] == sent.json()["id"]
    assert listed["report"] is None
    found = client.get(f"/v1/devices/local-cpu/reports/{listed['id']}").json()
    assert found["report"] == DeviceReport.model_validate(record).model_dump(mode="json")


def test_a_report_sent_again_is_the_same_one(client: httpx.Client, register: Any, record: Record) -> None:
    register()
    assert send(client, record).json()["id"] == send(client, record).json()["id"]
    assert len(client.get("/v1/devices/local-cpu/reports").json()) == 1


def test_a_device_may_be_named_by_its_id(client: httpx.Client, register: Any, record: Record) -> None:
    assert send(client, record, register().device_id).status_code == 201


def test_a_workers_token_is_good_for_its_own_device_alone(url: str, register: Any, record: Record) -> None:
    report = DeviceReport.model_validate(record)
    register("other", "other-device")
    with Client(url, register().token) as own:
        assert own.send_device_report("local-cpu", report).proofs[0].passed
        with pytest.raises(NotAllowed, match="not for the device 'other-device'"):
            own.send_device_report("other-device", report)


REFUSED: list[tuple[Callable[[Record], Any], int, str]] = [
    (lambda record: spoil(record, p50_ns=7), 422, "p50 is claimed to be 7 ns"),
    (lambda record: spoil(record, correct=40), 422, "40 of 32 answers"),
    (lambda record: spoil(record, samples="AAAA"), 422, "samples"),
    (lambda record: spoil(record, mood="good"), 422, "Extra inputs are not permitted"),
    (lambda record: record.update(format="lp-device-report-2"), 422, "lp-device-report-1"),
    (lambda record: record.update(made_at=1_900_000_000_000_000), 422, "made in the future"),
    (lambda record: record.update(facts={"word": "x" * 70_000}), 422, "the limit is 65536"),
    (lambda record: record.update(backends=[]), 422, "at least 1 item"),
    (lambda record: record["backends"][0].update(version="9.0"), 422, "its conditions of tensorrt 1.23"),
    (lambda record: record.update(python="x" * (1 << 20)), 413, "the limit is"),
]


def test_a_report_that_cannot_be_right_is_refused(
    client: httpx.Client, register: Any, record: Record, subtests: pytest.Subtests
) -> None:
    register()
    right = json.dumps(record)
    for change, status, words in REFUSED:
        with subtests.test(words):
            wrong = json.loads(right)
            change(wrong)
            response = send(client, wrong)
            assert response.status_code == status, response.text
            assert words in response.json()["error"]["message"]
    assert client.get("/v1/devices/local-cpu/reports").json() == []


def test_an_unknown_device_or_report_is_not_found(client: httpx.Client, register: Any, record: Record) -> None:
    register()
    assert send(client, record, "nowhere").status_code == 404
    assert client.get("/v1/devices/local-cpu/reports/none").status_code == 404


def board(client: httpx.Client, job: Record) -> Record:
    found: Record = client.get("/v1/leaderboard", params={"job": job["id"]}).json()
    return found


def test_rows_of_an_unproven_runtime_wait(client: httpx.Client, measured: Record) -> None:
    found = board(client, measured)
    assert found["rows"] == []
    (waiting,) = found["unranked"]
    assert waiting["rows"] == 4
    assert waiting["message"] == (
        "4 measured variants are not ranked: tensorrt 1.23 on Test CPU is an unproven backend"
    )
    assert waiting["remedy"] == "Run on it: layerprune device check --backend tensorrt --upload --device local-cpu"
    notes = client.get(f"/v1/jobs/{measured['id']}/comparison").json()["notes"]
    assert any(waiting["message"] in note for note in notes)


def test_a_waiting_row_is_shown_with_its_variant(client: httpx.Client, measured: Record) -> None:
    job = client.get(f"/v1/jobs/{measured['id']}/comparison").json()
    variant = next(
        contender["variant"]
        for device in job["devices"]
        for target in device["targets"]
        for contender in target["contenders"]
    )
    (row,) = client.get(f"/v1/variants/{variant}").json()["measurements"]
    assert row["flags"][-1] == "unproven_backend"
    assert row["verdict"] == "flagged"


def test_the_report_that_proves_them_ranks_the_rows_that_wait(
    client: httpx.Client, measured: Record, record: Record
) -> None:
    assert send(client, record).json()["ranked_rows"] >= 5
    found = board(client, measured)
    assert (len(found["rows"]), found["unranked"]) == (5, [])
    assert all("unproven_backend" not in row["flags"] for row in found["rows"])


def test_rows_that_come_after_the_report_are_ranked_at_once(
    client: httpx.Client, scripted: Any, submit: Any, record: Record
) -> None:
    send(client, record)
    job = submit(measure={"backend": "tensorrt"})
    scripted.run()
    assert len(board(client, job)["rows"]) == 5


def test_a_report_that_failed_ranks_nothing(client: httpx.Client, measured: Record, record: Record) -> None:
    sent = send(client, spoil(record, agrees=False)).json()
    assert [proof["passed"] for proof in sent["proofs"]] == [False]
    assert "differ from the reference" in sent["proofs"][0]["problems"][0]["message"]
    assert (sent["ranked_rows"], board(client, measured)["rows"]) == (0, [])


@pytest.mark.parametrize("change", [{"version": "1.24.0"}, {"device_model": "Another CPU"}], ids=str)
def test_a_report_of_another_class_ranks_nothing(
    client: httpx.Client, measured: Record, record: Record, change: Record
) -> None:
    backend = record["backends"][0]
    backend.update(change)
    names = {"version": "runtime_version", "device_model": "device_model"}
    backend["conditions"].update({names[name]: value for name, value in change.items()})
    assert send(client, record).json()["proofs"][0]["passed"]
    assert board(client, measured)["rows"] == []


def test_a_later_failure_takes_nothing_back(client: httpx.Client, measured: Record, record: Record) -> None:
    send(client, record)
    send(client, spoil(record, agrees=False))
    assert len(board(client, measured)["rows"]) == 5


def test_rows_of_a_runtime_that_the_project_runs_itself_need_no_report(
    client: httpx.Client, scripted: Any, submit: Any
) -> None:
    job = submit()
    scripted.run()
    found = board(client, job)
    assert (len(found["rows"]), found["unranked"]) == (5, [])


def test_the_pages_say_what_waits_and_what_was_checked(client: httpx.Client, measured: Record, record: Record) -> None:
    words = "tensorrt 1.23 on Test CPU is an unproven backend"
    for page in ("/", f"/jobs/{measured['id']}", "/devices/local-cpu"):
        assert words in client.get(page).text, page
    assert "No check of this device has been uploaded" in client.get("/devices/local-cpu").text
    send(client, record)
    page = client.get("/devices/local-cpu").text
    assert words not in page
    assert "proven" in page
