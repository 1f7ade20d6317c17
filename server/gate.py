"""In front of the app, before a body is read: who is asking, from where, and how much they may send."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from layerprune.api.errors import LayerPruneError, NotAllowed, NotAuthenticated, TooLarge

from .auth import COOKIE, Principal, authenticate
from .config import LOOPBACK, Settings
from .db import read_clock
from .errors import as_http, render, render_unexpected

PUBLIC = {"/healthz", "/login"}
"""Everything else needs a token; `/login` carries its own in the address."""
SAFE = {"GET", "HEAD", "OPTIONS"}
SECURITY_HEADERS = (
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
     b"frame-ancestors 'none'; base-uri 'none'; form-action 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)  # fmt: skip


class Gate:
    """Authenticates every request, and bounds what it may send."""

    def __init__(self, app: ASGIApp, *, owner: FastAPI, settings: Settings) -> None:
        self._app = app
        self._owner = owner
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            if request.url.path not in PUBLIC:
                scope["principal"] = await self._authenticate(request)
            elif request.url.path == "/login" and self._settings.is_loopback:
                _check_host(request.headers)
            limit = self._limit(request)
            _check_length(request.headers, limit)
        except LayerPruneError as error:
            await render(request, error)(scope, receive, _Answer(send))
            return
        answer = _Answer(send)
        try:
            await self._app(scope, _limited(receive, limit), answer)
        except Exception as error:  # the outer boundary: raised further, it would only break the connection
            if answer.started:
                raise
            await render_unexpected(request, error)(scope, receive, answer)

    async def _authenticate(self, request: Request) -> Principal:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if secret and scheme.lower() == "bearer":
            principal = await run_in_threadpool(self._look_up, secret.strip())
            if principal.kind in ("login", "session"):
                raise NotAuthenticated(f"a token of kind {principal.kind} is for browsers, not for this header")
            return principal
        cookie = _cookie(request.headers)
        if cookie is None:
            raise NotAuthenticated("this needs a token", remedy=_remedy(request))
        if self._settings.is_loopback:
            _check_host(request.headers)
        if request.method not in SAFE:
            _check_origin(request.headers)
        try:
            principal = await run_in_threadpool(self._look_up, cookie)
        except NotAuthenticated as error:
            raise NotAuthenticated(error.message, remedy=_remedy(request)) from error
        if principal.kind != "session":
            raise NotAuthenticated("the cookie holds no session", remedy=_remedy(request))
        return principal

    def _look_up(self, secret: str) -> Principal:
        with self._owner.state.read_sessions() as session:
            return authenticate(session, secret, now=read_clock(session, self._owner.state.clock))

    def _limit(self, request: Request) -> int:
        path = request.url.path
        if path.startswith("/v1/artifacts/"):
            return self._settings.max_artifact_bytes
        if path.startswith("/v1/attempts/") and path.endswith("/result"):
            return self._settings.max_result_bytes
        return self._settings.max_json_bytes


def _remedy(request: Request) -> str:
    if "text/html" in request.headers.get("accept", ""):
        return "Open the link that 'layerprune up' printed, or print a new one with: layerprune login"
    return NotAuthenticated.default_remedy


def _cookie(headers: Headers) -> str | None:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel else None


def _check_host(headers: Headers) -> None:
    # A page of another host whose name was made to point here would otherwise be the same origin.
    host = urlsplit("//" + headers.get("host", "")).hostname
    if host not in LOOPBACK:
        raise NotAllowed(
            f"the server answers browsers on this machine only, not under the name {host!r}",
            field="Host",
            value=host,
            remedy="Open http://127.0.0.1 with the server's port, or start it with --host.",
        )


def _check_origin(headers: Headers) -> None:
    origin = headers.get("origin", "")
    if not origin or urlsplit(origin).netloc != headers.get("host", ""):
        raise NotAllowed(
            f"the request comes from another site: Origin is {origin or 'missing'!r}",
            field="Origin",
            value=origin,
            remedy="Send it from a page of this server, or with a token instead of the cookie.",
        )


def _too_large(limit: int, sent: int) -> TooLarge:
    return TooLarge(f"the body has {sent} bytes or more, the limit is {limit}", value=sent)


def _check_length(headers: Headers, limit: int) -> None:
    declared = headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit, int(declared))


def _limited(receive: Receive, limit: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise as_http(_too_large(limit, received))
        return message

    return counted


class _Answer:
    """Adds the security headers, and knows whether the answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            message["headers"] = [*message["headers"], *SECURITY_HEADERS]
        await self._send(message)
