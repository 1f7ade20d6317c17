"""Whoever waits is woken at once, in the same process and in another one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from server.app import create_app
from server.config import Settings

JOB = {"model": {"name": "cifar:resnet20"}, "dataset": {"name": "digits"}}
SOON_S = 1.5
"""Less than the two seconds after which a poll looks again anyway."""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def lease_of(claimed: Any) -> dict[str, str]:
    return {"Layerprune-Lease": claimed["lease_token"]}


def wait_until_waiting(app: Any, topic: str) -> None:
    deadline = time.monotonic() + 10
    while not app.state.notifier.is_awaited(topic):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def timed(act: Callable[[], httpx.Response]) -> tuple[float, httpx.Response]:
    response = act()
    return time.monotonic(), response


def test_a_claim_with_nothing_to_do_waits_and_says_so(worker: httpx.Client) -> None:
    start = time.monotonic()
    assert worker.get("/v1/tasks/claim?wait=0.3").status_code == 204
    assert time.monotonic() - start >= 0.3


def test_a_waiting_claim_gets_a_new_task_at_once(
    app: Any, client: httpx.Client, worker: httpx.Client, pool: ThreadPoolExecutor
) -> None:
    claim = pool.submit(timed, lambda: worker.get("/v1/tasks/claim?wait=20"))
    wait_until_waiting(app, "tasks")
    assert client.post("/v1/jobs", json=JOB).status_code == 201
    submitted = time.monotonic()
    answered, response = claim.result()
    assert response.json()["kind"] == "score"
    assert answered - submitted < SOON_S


def test_a_cancel_reaches_the_worker_at_once(
    app: Any, client: httpx.Client, worker: httpx.Client, pool: ThreadPoolExecutor
) -> None:
    job = client.post("/v1/jobs", json=JOB).json()["id"]
    claimed = worker.get("/v1/tasks/claim").json()
    address = f"/v1/attempts/{claimed['attempt_id']}/control"
    assert worker.get(address, headers=lease_of(claimed)).json()["cancel"] is False
    control = pool.submit(timed, lambda: worker.get(f"{address}?wait=20", headers=lease_of(claimed)))
    wait_until_waiting(app, f"attempt:{claimed['attempt_id']}")
    assert client.post(f"/v1/jobs/{job}/cancel").status_code == 200
    cancelled = time.monotonic()
    answered, response = control.result()
    assert response.json()["cancel"] is True
    assert answered - cancelled < SOON_S


def test_a_heartbeat_renews_and_tells_of_a_cancel(client: httpx.Client, worker: httpx.Client, clock: Any) -> None:
    job = client.post("/v1/jobs", json=JOB).json()["id"]
    claimed = worker.get("/v1/tasks/claim").json()
    beat = {"attempt_no": 1, "progress": {"phase": "train", "epoch": 1, "epochs": 5, "loss": 0.7}}
    address = f"/v1/attempts/{claimed['attempt_id']}/heartbeat"
    clock.advance(80)
    answer = worker.post(address, json=beat, headers=lease_of(claimed)).json()
    assert answer == {"cancel": False, "lease_expires_in_s": 90, "next_beat_s": 20}
    (task,) = client.get(f"/v1/jobs/{job}").json()["tasks"]
    assert (task["progress"]["phase"], task["progress"]["loss"]) == ("train", 0.7)
    client.post(f"/v1/jobs/{job}/cancel")
    assert worker.post(address, json=beat, headers=lease_of(claimed)).json()["cancel"] is True


def test_a_failure_report_is_answered_the_same_when_sent_again(client: httpx.Client, worker: httpx.Client) -> None:
    client.post("/v1/jobs", json=JOB)
    claimed = worker.get("/v1/tasks/claim").json()
    address = f"/v1/attempts/{claimed['attempt_id']}/failure"
    report = {"attempt_no": 1, "reason": "diverged", "message": "loss is not finite"}
    answers = [worker.post(address, json=report, headers=lease_of(claimed)) for _ in range(2)]
    assert [one.json() for one in answers] == [{"accepted": True, "state": "failed"}] * 2
    changed = worker.post(address, json=report | {"message": "other"}, headers=lease_of(claimed))
    assert (changed.status_code, changed.json()["error"]["code"]) == (409, "already_reported")


def test_a_result_that_cannot_be_right_is_refused_and_the_lease_kept(
    client: httpx.Client, worker: httpx.Client
) -> None:
    client.post("/v1/jobs", json=JOB)
    claimed = worker.get("/v1/tasks/claim").json()
    address = f"/v1/attempts/{claimed['attempt_id']}"
    refused = worker.post(f"{address}/result", json={"attempt_no": 1, "result": {"base": 1}}, headers=lease_of(claimed))
    assert refused.status_code == 422
    assert refused.json()["error"]["field"] == "result.base"
    assert worker.get(f"{address}/control", headers=lease_of(claimed)).json()["cancel"] is False


def test_a_late_result_is_refused(client: httpx.Client, worker: httpx.Client, clock: Any) -> None:
    client.post("/v1/jobs", json=JOB)
    claimed = worker.get("/v1/tasks/claim").json()
    clock.advance(91)
    body = {"attempt_no": 1, "result": {}}
    address = f"/v1/attempts/{claimed['attempt_id']}/result"
    response = worker.post(address, json=body, headers=lease_of(claimed))
    assert (response.status_code, response.json()["error"]["code"]) == (409, "lease_lost")
    assert "claim a new task" in response.json()["error"]["remedy"]


def test_another_lease_token_is_refused(client: httpx.Client, worker: httpx.Client) -> None:
    client.post("/v1/jobs", json=JOB)
    claimed = worker.get("/v1/tasks/claim").json()
    for end, body in (("heartbeat", {"attempt_no": 1}), ("result", {"attempt_no": 1, "result": {}})):
        address = f"/v1/attempts/{claimed['attempt_id']}/{end}"
        response = worker.post(address, json=body, headers={"Layerprune-Lease": "lp_lease_of_another"})
        assert (response.status_code, response.json()["error"]["code"]) == (409, "lease_lost")


@pytest.mark.postgres
def test_a_claim_at_one_server_hears_of_a_job_at_another(
    empty_postgres: Callable[[], str],
    settings: Settings,
    pool: ThreadPoolExecutor,
    serve: Callable[..., str],
    registration: Callable[..., Any],
) -> None:
    shared = settings.model_copy(update={"database_url": empty_postgres()})
    first, second = create_app(shared), create_app(shared)
    urls = serve(first), serve(second)
    headers = {"Authorization": f"Bearer {(shared.data / 'admin-token').read_text().strip()}"}
    with httpx.Client(base_url=urls[0], headers=headers, timeout=30) as user:
        answer = user.post("/v1/workers", json=registration("worker", "local-cpu")).json()
        worker_headers = {"Authorization": f"Bearer {answer['token']}"}
        claim = pool.submit(
            timed, lambda: httpx.get(f"{urls[1]}/v1/tasks/claim?wait=20", headers=worker_headers, timeout=30)
        )
        wait_until_waiting(second, "tasks")
        assert user.post("/v1/jobs", json=JOB).status_code == 201
        submitted = time.monotonic()
        answered, response = claim.result()
    assert response.json()["kind"] == "score"
    assert answered - submitted < SOON_S
