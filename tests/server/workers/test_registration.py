"""Workers come, come back, and are refused when they should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from layerprune.api.workers import WorkerRegistered

Register = Callable[..., WorkerRegistered]
BODY = {"name": "board", "roles": ["measure"], "device": {"name": "jetson"}, "incarnation": "incarnation-1"}


@pytest.fixture
def registration_token(client: httpx.Client) -> str:
    response = client.post("/v1/devices", json={"name": "jetson", "kind": "jetson"})
    assert response.status_code == 201
    return str(response.json()["registration_token"])


def post(url: str, token: str | None, **changes: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/workers", json=BODY | changes, headers={"Authorization": f"Bearer {token}"})


def test_the_answer_says_how_often_to_beat(register: Register) -> None:
    answer = register()
    assert (answer.heartbeat_s, answer.lease_s) == (20, 90)


def test_a_registration_token_registers_one_worker(url: str, registration_token: str) -> None:
    token = post(url, registration_token).json()["token"]
    assert token.startswith("lp_worker_")
    second = post(url, registration_token, name="other", incarnation="incarnation-2")
    assert second.status_code == 401
    assert "POST /v1/devices" in second.json()["error"]["remedy"]


def test_the_process_whose_answer_was_lost_may_ask_again(url: str, registration_token: str) -> None:
    lost = post(url, registration_token).json()
    again = post(url, registration_token).json()
    assert again["worker_id"] == lost["worker_id"]
    assert post(url, lost["token"]).status_code == 401
    assert post(url, again["token"]).status_code == 201


def test_a_registration_token_ends_after_an_hour(url: str, registration_token: str, clock: Any) -> None:
    clock.advance(3600)
    assert post(url, registration_token).status_code == 401


def test_a_registration_token_is_for_its_device_alone(url: str, registration_token: str) -> None:
    response = post(url, registration_token, device={"name": "another"})
    assert response.status_code == 403
    assert "jetson" in response.json()["error"]["message"]


def test_a_worker_registers_itself_anew_without_a_new_token(url: str, registration_token: str) -> None:
    token = post(url, registration_token).json()["token"]
    again = post(url, token, incarnation="incarnation-2")
    assert (again.status_code, again.json()["token"]) == (201, None)


@pytest.mark.parametrize(
    "change", [{"name": "other"}, {"device": {"name": "another"}}, {"device": None, "roles": ["build"]}]
)
def test_a_workers_token_is_for_that_worker_alone(url: str, registration_token: str, change: dict[str, Any]) -> None:
    token = post(url, registration_token).json()["token"]
    assert post(url, token, **change).status_code == 403


def test_an_admin_brings_a_worker_back_whose_token_was_lost(register: Register, url: str) -> None:
    first, second = register(), register()
    assert first.worker_id == second.worker_id
    assert first.token != second.token


def test_a_name_of_another_devices_worker_is_taken(url: str, registration_token: str, register: Register) -> None:
    register(name="board", device="local-cpu")
    response = post(url, registration_token)
    assert response.status_code == 409
    assert "another device" in response.json()["error"]["message"]


def test_an_old_protocol_is_told_to_upgrade(url: str, admin_token: str) -> None:
    response = post(url, admin_token, protocol_version=0)
    assert response.status_code == 426
    assert "Install the server's version" in response.json()["error"]["remedy"]


def test_measuring_needs_a_device(url: str, admin_token: str) -> None:
    response = post(url, admin_token, device=None)
    assert response.json()["error"]["field"] == "device"


@pytest.mark.parametrize("change", [{"roles": []}, {"roles": ["cook"]}, {"name": "../up"}, {"incarnation": "short"}])
def test_what_makes_no_sense_is_refused(url: str, admin_token: str, change: dict[str, Any]) -> None:
    response = post(url, admin_token, **change)
    assert response.status_code == 422
    assert response.json()["error"]["field"].split(".")[0] in change


def test_what_workers_offer_can_be_asked_for(register: Register, client: httpx.Client) -> None:
    assert client.get("/v1/models").json() == []
    register()
    register(name="second", device=None)
    assert [one["name"] for one in client.get("/v1/models").json()] == ["cifar:resnet20"]
    assert [one["name"] for one in client.get("/v1/datasets").json()] == ["digits"]
    assert [one["name"] for one in client.get("/v1/criteria").json()] == ["imprinting", "random", "weight_l1"]


def test_an_offline_workers_offers_count_for_a_week(register: Register, client: httpx.Client, clock: Any) -> None:
    register()
    clock.advance(6 * 86_400)
    assert client.get("/v1/models").json() != []
    clock.advance(2 * 86_400)
    assert client.get("/v1/models").json() == []


def test_a_device_is_offline_when_its_worker_is_silent(worker: httpx.Client, client: httpx.Client, clock: Any) -> None:
    assert client.get("/v1/devices").json()[0]["online"]
    clock.advance(61)
    assert not client.get("/v1/devices").json()[0]["online"]
    worker.get("/v1/tasks/claim")
    assert client.get("/v1/devices").json()[0]["online"]


def test_a_device_without_a_worker_is_listed(client: httpx.Client, registration_token: str) -> None:
    (device,) = client.get("/v1/devices").json()
    assert (device["name"], device["kind"], device["online"], device["worker"]) == ("jetson", "jetson", False, None)


def test_a_device_is_busy_while_its_worker_holds_a_lease(worker: httpx.Client, client: httpx.Client) -> None:
    job = {"model": {"name": "cifar:resnet20"}, "dataset": {"name": "digits"}}
    assert client.post("/v1/jobs", json=job).status_code == 201
    assert worker.get("/v1/tasks/claim").status_code == 200
    assert client.get("/v1/devices").json()[0]["busy"]
