"""Every route of the app with every kind of token: a route that forgets to ask who is there fails here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import update

from server.auth import COOKIE
from server.db import session_scope
from server.ids import hash_secret, new_token
from server.models import Token

USERS = {"admin", "user", "session"}
WORKERS = {"worker"}
OPEN = {"GET /healthz", "GET /login"}
"""Routes that need no token; /login carries its own."""
ALLOWED: dict[str, set[str]] = {
    "POST /v1/devices": {"admin"},
    "POST /v1/devices/{device}/reports": {"admin"} | WORKERS,
    "POST /v1/workers": {"admin", "registration", "worker"},
    "GET /v1/tasks/claim": WORKERS,
    "GET /v1/attempts/{attempt_id}/control": WORKERS,
    "POST /v1/attempts/{attempt_id}/heartbeat": WORKERS,
    "POST /v1/attempts/{attempt_id}/result": WORKERS,
    "POST /v1/attempts/{attempt_id}/failure": WORKERS,
    "PUT /v1/artifacts/sha256/{digest}": USERS | WORKERS,
    "HEAD /v1/artifacts/sha256/{digest}": USERS | WORKERS,
    "GET /v1/artifacts/sha256/{digest}": USERS | WORKERS,
    "GET /openapi.json": USERS | WORKERS | {"registration"},
}
"""Who may use a route, where it is not the users alone."""


def routes(container: Any) -> Iterator[tuple[str, str]]:
    """Every method and path of an app, through the routers that it includes."""
    for route in container.routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from routes(inner)
            continue
        for method in sorted(route.methods):
            if (method, route.path) != ("HEAD", "/openapi.json"):
                yield method, route.path


def call(client: httpx.Client, method: str, path: str) -> httpx.Response:
    address = path.replace("{digest}", "0" * 64)
    while "{" in address:
        address = address[: address.index("{")] + "unknown" + address[address.index("}") + 1 :]
    body = {} if method == "GET" or method == "HEAD" else {"json": {}}
    return client.request(method, address, **body)


def verdict(response: httpx.Response) -> int:
    """The status, as far as it says who may do what; else 0."""
    if response.status_code == 403 and response.request.method != "HEAD":
        return 403 if response.json()["error"]["code"] == "not_allowed" else 0
    return response.status_code if response.status_code in (401, 403, 500) else 0


@pytest.mark.parametrize("kind", ["admin", "user", "registration", "worker", "session"])
def test_a_token_opens_the_routes_of_its_kind_alone(
    kind: Any, app: FastAPI, url: str, make_token: Callable[..., str]
) -> None:
    headers = {"Layerprune-Lease": "lp_lease", "Origin": url}
    if kind != "session":
        headers["Authorization"] = f"Bearer {make_token(kind)}"
    cookies = {COOKIE: make_token("session")} if kind == "session" else None
    with httpx.Client(base_url=url, headers=headers, cookies=cookies) as client:
        found = {
            f"{method} {path}": verdict(call(client, method, path))
            for method, path in routes(app)
            if f"{method} {path}" not in OPEN
        }
    assert len(found) > 25
    assert found == {route: 0 if kind in ALLOWED.get(route, USERS) else 403 for route in found}


def test_nothing_but_the_open_routes_answers_without_a_token(app: FastAPI, url: str) -> None:
    with httpx.Client(base_url=url) as client:
        answered = {f"{method} {path}" for method, path in routes(app) if call(client, method, path).status_code != 401}
        assert client.get("/nowhere").status_code == 401
    assert answered <= OPEN


def bad_token(kind: str, app: FastAPI, make_token: Callable[..., str], clock: Any) -> str:
    token = make_token("user", lifetime_s=60)
    if kind == "broken":
        return token[:-1] + ("0" if token[-1] != "0" else "1")
    if kind == "unknown":
        return new_token("user")
    if kind == "expired":
        clock.advance(60)
    elif kind == "revoked":
        with session_scope(app) as session:
            session.execute(update(Token).where(Token.secret_hash == hash_secret(token)).values(revoked_at=clock()))
    else:
        return make_token(kind)
    return token


@pytest.mark.parametrize("kind", ["broken", "unknown", "expired", "revoked", "login", "session"])
def test_a_bad_token_is_refused_before_the_body_is_read(
    kind: str, app: FastAPI, url: str, make_token: Callable[..., str], clock: Any
) -> None:
    token = bad_token(kind, app, make_token, clock)
    response = httpx.post(f"{url}/v1/jobs", content=b"{not json", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    error = response.json()["error"]
    assert error["code"] == "not_authenticated"
    assert "admin-token" in error["remedy"]


def test_a_workers_token_on_a_users_route_says_which_kind_is_needed(worker: httpx.Client) -> None:
    error = worker.get("/v1/jobs").json()["error"]
    assert error["message"] == "this needs a token of kind admin or user or session, yours is of kind worker"
    assert error["value"] == "worker"


def test_a_secret_is_stored_as_its_hash_alone(app: FastAPI, settings: Any, make_token: Callable[..., str]) -> None:
    token = make_token("user")
    app.state.engine.dispose()
    for path in settings.data.glob("layerprune.db*"):
        assert token.encode() not in path.read_bytes()
