"""Every error has one shape, and bad bodies are refused before anything is done."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event, text

from layerprune.api.errors import ErrorResponse
from server.config import Settings
from server.db import SessionDep
from server.models import Event

JOB = {"model": {"name": "cifar:resnet20"}, "dataset": {"name": "digits"}}
DEVICE = {"name": "new-device"}


def error_of(response: httpx.Response, status: int) -> Any:
    assert response.status_code == status, response.text
    return ErrorResponse.model_validate(response.json()).error


def test_an_unknown_address_is_named(client: httpx.Client) -> None:
    error = error_of(client.get("/v1/nowhere"), 404)
    assert error.value == "/v1/nowhere"
    assert "openapi" in error.remedy


def test_a_wrong_method_is_named(client: httpx.Client) -> None:
    error = error_of(client.delete("/v1/devices"), 405)
    assert error.code == "method_not_allowed"


def test_an_unknown_query_parameter_is_named(client: httpx.Client) -> None:
    error = error_of(client.get("/v1/leaderboard", params={"front": "true", "modle": "cifar:resnet20"}), 422)
    assert (error.field, error.value) == ("modle", "cifar:resnet20")
    assert "min_accuracy, model" in error.message


def test_an_unknown_field_is_named(client: httpx.Client) -> None:
    error = error_of(client.post("/v1/devices", json=DEVICE | {"colour": "red"}), 422)
    assert (error.code, error.field, error.value) == ("extra_forbidden", "colour", "red")
    assert "openapi" in error.remedy


def test_a_nested_field_is_named_by_its_path(client: httpx.Client) -> None:
    error = error_of(client.post("/v1/jobs", json=JOB | {"training": {"epochs": 0}}), 422)
    assert (error.field, error.value) == ("training.epochs", 0)


def test_a_missing_body_is_explained(client: httpx.Client) -> None:
    error = error_of(client.post("/v1/devices"), 422)
    assert error.code == "missing"
    assert "application/json" in error.remedy


@pytest.mark.parametrize("body", [b"{", b"[1, 2", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_json_is_refused(client: httpx.Client, body: bytes) -> None:
    response = client.post("/v1/devices", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    ErrorResponse.model_validate(response.json())


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_refused(client: httpx.Client, number: str) -> None:
    body = f'{{"name": "new-device", "facts": {{"cores": {number}}}}}'
    response = client.post("/v1/devices", content=body, headers={"Content-Type": "application/json"})
    error = error_of(response, 422)
    assert (error.code, error.value) == ("finite_number", number)


def test_the_word_nan_in_a_text_is_no_number(client: httpx.Client) -> None:
    assert client.post("/v1/devices", json=DEVICE | {"description": "NaN: Infinity"}).status_code == 201


@pytest.mark.parametrize("broken", ["\x00", "\ud800"])
def test_text_that_no_database_stores_is_refused(client: httpx.Client, broken: str) -> None:
    body = '{"name": "new-device", "facts": {"a": "%s"}}' % ("\\u0000" if broken == "\x00" else "\\ud800")
    response = client.post("/v1/devices", content=body, headers={"Content-Type": "application/json"})
    assert error_of(response, 422).message.startswith("text must not contain")


def test_a_declared_length_over_the_limit_names_the_limit(client: httpx.Client) -> None:
    error = error_of(client.post("/v1/devices", json=DEVICE | {"description": "x" * (1 << 20)}), 413)
    assert str(1 << 20) in error.message
    assert error.code == "too_large"


def test_a_length_that_was_not_declared_is_counted(client: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(3):
            yield b" " * (1 << 19)

    response = client.post("/v1/devices", content=pieces(), headers={"Content-Type": "application/json"})
    assert str(1 << 20) in error_of(response, 413).message


def test_a_result_may_be_longer_than_other_bodies(worker: httpx.Client) -> None:
    body = {"attempt_no": 1, "result": {"notes": ["x" * (1 << 20)]}}
    response = worker.post("/v1/attempts/unknown/result", json=body, headers={"Layerprune-Lease": "lp_lease"})
    assert response.status_code == 404


def test_a_failing_commit_is_no_success(app: FastAPI, client: httpx.Client) -> None:
    """The foreign key is checked at the commit, after the endpoint has returned."""

    @app.post("/v1/broken", status_code=201)
    def broken(session: SessionDep) -> dict[str, str]:
        session.execute(text("PRAGMA defer_foreign_keys = ON"))
        session.add(Event(job_id=12345, at=0, kind="orphan", data={}))
        return {"stored": "yes"}

    error = error_of(client.post("/v1/broken"), 500)
    assert error.code == "internal"
    assert client.get("/v1/devices").status_code == 200


def test_an_unexpected_error_shows_nothing_of_the_inside(app: FastAPI, client: httpx.Client) -> None:
    @app.get("/v1/failing")
    def failing() -> None:
        raise RuntimeError("a secret")

    response = client.get("/v1/failing")
    assert "content-security-policy" in response.headers
    assert error_of(response, 500).code == "internal"
    assert "secret" not in response.text


def test_a_database_that_is_locked_too_long_is_worth_another_try(
    app: FastAPI, client: httpx.Client, settings: Settings
) -> None:
    """Somebody else holds the write lock for longer than a request waits for it."""
    event.listen(app.state.engine, "checkout", lambda connection, *_: connection.execute("PRAGMA busy_timeout = 50"))
    with closing(sqlite3.connect(settings.data / "layerprune.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        error = error_of(client.post("/v1/devices", json=DEVICE), 503)
    assert error.code == "unavailable"
    assert "Try again" in error.remedy
    assert client.post("/v1/devices", json=DEVICE).status_code == 201


def test_health_needs_no_token(url: str) -> None:
    assert httpx.get(f"{url}/healthz").json()["status"] == "ok"


def test_every_operation_documents_our_error_shape(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            schema = operation["responses"]["422"]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorResponse"}, f"{method} {path}"
    assert "HTTPValidationError" not in document["components"]["schemas"]
