from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from layerprune.api import errors
from layerprune.api.client import Client
from layerprune.api.dataset import DatasetSpec
from layerprune.api.jobs import JobRequest
from layerprune.api.network import ModelSpec
from layerprune.api.training import TrainingSpec
from layerprune.api.workers import Heartbeat, ResultReport

REQUEST = JobRequest(
    model=ModelSpec(name="cifar:resnet20"), dataset=DatasetSpec(name="digits"), training=TrainingSpec(epochs=1)
)
NO_WAIT = (0.0, 0.0)


def job(state: str = "queued", **more: Any) -> dict[str, Any]:
    return {
        "id": "j1",
        "state": state,
        "request": REQUEST.model_dump(mode="json"),
        "estimate": {"trainings": 3, "minutes": 1.5, "basis": "guess"},
        "created_at": 1,
        "progress": 0.5,
        **more,
    }


def control() -> dict[str, Any]:
    return {"cancel": False, "lease_expires_in_s": 90, "next_beat_s": 20}


@pytest.fixture
def client(server: Any) -> Any:
    with Client(server.url, "lp_user_x", retry_waits_s=NO_WAIT) as client:
        yield client


def test_a_job_is_submitted_with_only_what_was_said(server: Any, client: Client) -> None:
    server.say(job(), 201)
    assert client.submit(REQUEST).estimate.trainings == 3
    [asked] = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/jobs")
    assert asked.headers["authorization"] == "Bearer lp_user_x"
    assert json.loads(asked.body) == {
        "model": {"name": "cifar:resnet20"},
        "dataset": {"name": "digits"},
        "training": {"epochs": 1},
    }


def test_a_lost_answer_to_a_submission_is_asked_for_again_under_the_same_key(server: Any, client: Client) -> None:
    server.drop()
    server.say(job(), 201)
    assert client.submit(REQUEST).id == "j1"
    first, second = server.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] != ""


def test_what_is_not_idempotent_is_not_sent_twice(server: Any, client: Client) -> None:
    server.drop()
    with pytest.raises(errors.Unavailable):
        client.create_login_link()
    assert len(server.asked) == 1


def test_a_lost_claim_is_not_sent_again(server: Any, client: Client) -> None:
    server.drop()
    with pytest.raises(errors.Unavailable):
        client.claim(0)
    assert len(server.asked) == 1


def test_a_short_outage_is_bridged(server: Any, client: Client) -> None:
    server.say_bytes(status=503)
    server.drop()
    server.say(job())
    assert client.get_job("j1").id == "j1"


def test_a_long_outage_is_an_error_that_names_the_address(server: Any, client: Client) -> None:
    for _ in range(3):
        server.drop()
    with pytest.raises(errors.Unavailable, match=server.url):
        client.get_job("j1")


def test_nobody_listening_is_an_error_that_says_how_to_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}", "t", retry_waits_s=())
    with client, pytest.raises(errors.Unavailable) as caught:
        client.check_health()
    assert "layerprune up" in caught.value.remedy


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "digest_invalid", errors.BadInput),
        (401, "not_authenticated", errors.NotAuthenticated),
        (403, "not_allowed", errors.NotAllowed),
        (404, "not_found", errors.NotFound),
        (409, "conflict", errors.Conflict),
        (409, "lease_lost", errors.LeaseLost),
        (413, "too_large", errors.TooLarge),
        (422, "bad_input", errors.BadInput),
        (422, "unknown_model", errors.UnknownName),
        (426, "upgrade_required", errors.UpgradeRequired),
        (500, "error", errors.LayerPruneError),
    ],
)
def test_the_servers_error_comes_out_as_it_went_in(
    server: Any, client: Client, status: int, code: str, kind: type[errors.LayerPruneError]
) -> None:
    body = {"code": code, "message": "no", "field": "model.name", "value": "x", "remedy": "do this"}
    server.say({"error": body}, status)
    with pytest.raises(errors.LayerPruneError) as caught:
        client.get_job("j1")
    assert type(caught.value) is kind
    assert caught.value.body().model_dump() == body


def test_an_answer_that_is_not_ours_is_still_our_error(server: Any, client: Client) -> None:
    server.say_bytes(b"<html>teapot</html>", 418)
    with pytest.raises(errors.LayerPruneError, match="418"):
        client.get_job("j1")


def test_fields_of_a_newer_server_are_ignored(server: Any, client: Client) -> None:
    server.say(job(invented_later=1))
    assert client.get_job("j1").id == "j1"


def test_an_answer_of_the_wrong_shape_is_an_error(server: Any, client: Client) -> None:
    server.say({"id": 3})
    with pytest.raises(errors.LayerPruneError, match="not what this version expects"):
        client.get_job("j1")


def test_without_a_token_nothing_is_sent(server: Any) -> None:
    with Client(server.url) as client, pytest.raises(errors.NotAuthenticated, match="no token"):
        client.list_models()
    assert server.asked == []


def test_following_ends_with_the_job(server: Any, client: Client) -> None:
    server.say(job("running"))
    server.say({"events": [], "next_after": 7})
    server.say(job("running"))
    server.say({"events": [], "next_after": 9})
    server.say(job("done"))
    assert [seen.state for seen in client.follow("j1", wait_s=0)] == ["running", "running", "done"]
    assert server.asked[3].path.startswith("/v1/jobs/j1/events?after=7")


def test_an_id_from_a_user_stays_one_part_of_the_path(server: Any, client: Client) -> None:
    server.say(job())
    client.get_job("../devices?x=1")
    assert server.asked[0].path == "/v1/jobs/..%2Fdevices%3Fx%3D1"


def test_a_proxy_in_the_environment_does_not_stand_before_this_machine(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.say({"status": "ok"})
    with Client(server.url, retry_waits_s=()) as client:
        client.check_health()


def test_an_empty_queue_is_none(server: Any, client: Client) -> None:
    server.say_bytes(status=204)
    assert client.claim(0) is None


def test_worker_calls_carry_the_lease_in_a_header(server: Any, client: Client) -> None:
    server.say(control())
    server.say({"accepted": True, "state": "done"})
    client.heartbeat("a1", "lease-1", Heartbeat(attempt_no=2))
    client.result("a1", "lease-1", ResultReport(attempt_no=2, result={"x": 1}))
    assert [asked.path for asked in server.asked] == ["/v1/attempts/a1/heartbeat", "/v1/attempts/a1/result"]
    assert {asked.headers["layerprune-lease"] for asked in server.asked} == {"lease-1"}


def test_a_result_with_nan_does_not_leave_the_worker(server: Any, client: Client) -> None:
    with pytest.raises(errors.BadInput, match="NaN"):
        client.result("a1", "lease", ResultReport(attempt_no=1, result={"x": float("nan")}))
    assert server.asked == []


def test_upload_sends_the_file_under_its_digest(server: Any, client: Client, tmp_path: Path) -> None:
    content = b"weights" * 1000
    source = tmp_path / "model.onnx"
    source.write_bytes(content)
    server.say_bytes(status=404)
    server.drop()
    server.say_bytes(status=201)
    digest = client.upload(source)
    assert digest == hashlib.sha256(content).hexdigest()
    assert [asked.method for asked in server.asked] == ["HEAD", "PUT", "PUT"]
    assert server.asked[-1].body == content
    assert server.asked[-1].headers["content-length"] == str(len(content))


def test_what_the_server_has_is_not_uploaded_again(server: Any, client: Client, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(b"x")
    server.say_bytes(status=200)
    client.upload(source)
    assert [asked.method for asked in server.asked] == ["HEAD"]


def test_download_leaves_exactly_the_asked_content(server: Any, client: Client, tmp_path: Path) -> None:
    content = b"weights" * 1000
    server.drop()
    server.say_bytes(content)
    path = client.download(hashlib.sha256(content).hexdigest(), tmp_path / "model.onnx")
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_download_leaves_nothing(server: Any, client: Client, tmp_path: Path) -> None:
    server.say_bytes(b"damaged")
    with pytest.raises(errors.LayerPruneError) as caught:
        client.download("0" * 64, tmp_path / "model.onnx")
    assert caught.value.code == "digest_invalid"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_artifact_is_not_found(server: Any, client: Client, tmp_path: Path) -> None:
    body = {"code": "not_found", "message": "no such artifact", "remedy": "look"}
    server.say({"error": body}, 404)
    with pytest.raises(errors.NotFound, match="no such artifact"):
        client.download("0" * 64, tmp_path / "x")
