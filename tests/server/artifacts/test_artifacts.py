"""Content by digest: verified, bounded, whole or not there, and only for those who may have it."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select

from layerprune.api.errors import BadInput
from server.artifacts.service import reference
from server.auth import default_project
from server.config import Settings
from server.db import session_scope
from server.models import ArtifactRef, Project, Task

CONTENT = bytes(range(256)) * 10_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
ADDRESS = f"/v1/artifacts/sha256/{DIGEST}"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"max_artifact_bytes": len(CONTENT)})


@pytest.fixture
def lease(client: httpx.Client, worker: httpx.Client) -> Any:
    """A lease of the worker on a real job's first task."""
    job = {"model": {"name": "cifar:resnet20"}, "dataset": {"name": "digits"}}
    assert client.post("/v1/jobs", json=job).status_code == 201
    return worker.get("/v1/tasks/claim").json()


def files(settings: Settings) -> list[Path]:
    return [path for path in (settings.data / "artifacts").rglob("*") if path.is_file()]


def test_what_is_stored_comes_back(client: httpx.Client) -> None:
    assert client.put(ADDRESS, content=CONTENT).status_code == 201
    response = client.get(ADDRESS)
    assert response.content == CONTENT
    assert response.headers["etag"] == f'"{DIGEST}"'
    assert "immutable" in response.headers["cache-control"]


def test_storing_twice_is_no_error(client: httpx.Client, settings: Settings) -> None:
    assert [client.put(ADDRESS, content=CONTENT).status_code for _ in range(2)] == [201, 200]
    assert len(files(settings)) == 1


def test_head_says_the_size(client: httpx.Client) -> None:
    assert client.head(ADDRESS).status_code == 404
    client.put(ADDRESS, content=CONTENT)
    assert client.head(ADDRESS).headers["content-length"] == str(len(CONTENT))


def test_what_the_asker_has_is_not_sent_again(client: httpx.Client) -> None:
    client.put(ADDRESS, content=CONTENT)
    assert client.get(ADDRESS, headers={"If-None-Match": f'"{DIGEST}"'}).status_code == 304


def test_a_part_can_be_asked_for(client: httpx.Client) -> None:
    client.put(ADDRESS, content=CONTENT)
    response = client.get(ADDRESS, headers={"Range": "bytes=100-199"})
    assert (response.status_code, response.content) == (206, CONTENT[100:200])


def test_a_wrong_digest_is_refused_and_nothing_kept(client: httpx.Client, settings: Settings) -> None:
    response = client.put(ADDRESS, content=CONTENT[:-1])
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["value"]) == ("digest_invalid", DIGEST)
    assert hashlib.sha256(CONTENT[:-1]).hexdigest() in error["message"]
    assert files(settings) == []


def test_more_than_the_limit_is_refused_and_nothing_kept(client: httpx.Client, settings: Settings) -> None:
    def pieces() -> Iterator[bytes]:
        yield CONTENT
        yield b"!"

    for content in (CONTENT + b"!", pieces()):
        response = client.put(ADDRESS, content=content)
        assert response.status_code == 413
        assert str(len(CONTENT)) in response.json()["error"]["message"]
    assert files(settings) == []


def test_a_name_that_is_no_digest_is_refused(client: httpx.Client) -> None:
    assert client.get("/v1/artifacts/sha256/..%2F..%2Fadmin-token").status_code in (404, 422)
    assert client.get(f"/v1/artifacts/sha256/{DIGEST.upper()}").json()["error"]["field"] == "digest"


def test_an_upload_that_breaks_off_leaves_nothing(url: str, admin_token: str, settings: Settings) -> None:
    address = urlsplit(url)
    head = (
        f"PUT {ADDRESS} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {admin_token}\r\n"
        f"Content-Length: {len(CONTENT)}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + CONTENT[: 3 << 19])
        wait_until(lambda: files(settings) != [])
    wait_until(lambda: files(settings) == [])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_without_a_lease_uploads_nothing(worker: httpx.Client) -> None:
    response = worker.put(ADDRESS, content=CONTENT)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "no_lease")


def test_a_worker_with_a_lease_uploads(worker: httpx.Client, client: httpx.Client, lease: Any) -> None:
    assert worker.put(ADDRESS, content=CONTENT).status_code == 201
    assert worker.head(ADDRESS).status_code == 200
    assert client.get(ADDRESS).content == CONTENT


def test_a_worker_reads_the_inputs_of_its_task_alone(
    app: FastAPI, worker: httpx.Client, client: httpx.Client, lease: Any
) -> None:
    client.put(ADDRESS, content=CONTENT)
    assert worker.get(ADDRESS).status_code == 404
    with session_scope(app) as session:
        session.scalars(select(Task)).one().inputs = [DIGEST]
    assert worker.get(ADDRESS).content == CONTENT


def test_a_worker_whose_lease_ended_reads_nothing(
    app: FastAPI, worker: httpx.Client, client: httpx.Client, lease: Any, clock: Any
) -> None:
    client.put(ADDRESS, content=CONTENT)
    with session_scope(app) as session:
        session.scalars(select(Task)).one().inputs = [DIGEST]
    clock.advance(91)
    assert worker.get(ADDRESS).status_code == 404


def test_knowing_a_digest_grants_another_project_nothing(app: FastAPI, client: httpx.Client) -> None:
    client.put(ADDRESS, content=CONTENT)
    with session_scope(app) as session:
        other = Project(name="other")
        session.add(other)
        session.flush()
        with pytest.raises(BadInput, match=DIGEST):
            reference(session, other.id, DIGEST, "onnx", now=1)


def test_a_reference_is_kept_once_per_kind(app: FastAPI, client: httpx.Client) -> None:
    client.put(ADDRESS, content=CONTENT)
    with session_scope(app) as session:
        for kind in ("onnx", "onnx", "weights"):
            reference(session, default_project(session).id, DIGEST, kind, now=1)
        assert session.scalar(select(func.count(ArtifactRef.id))) == 3
