"""Every error leaves in one shape: what is wrong, with which value, and what to do about it."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException as StarletteHTTPException

from layerprune.api.errors import BadInput, ErrorResponse, LayerPruneError, NotFound, Unavailable
from layerprune.api.pruning import TARGET_FORMS

from .web.pages import render_error

log = logging.getLogger(__name__)
SHOWN_CHARACTERS = 200
REMEDIES = {
    404: "Look the address up in /openapi.json.",
    405: "Look the allowed methods up in /openapi.json.",
}


def install(app: FastAPI) -> None:
    """Have every error of the app rendered here; the gate hands over what nobody expected."""
    app.add_exception_handler(LayerPruneError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _foreign)
    app.add_exception_handler(OperationalError, _database)


def render(request: Request, error: LayerPruneError) -> Response:
    """Make the response for an error: JSON, or a page for a browser that asked for a page."""
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}
    if not request.url.path.startswith("/v1") and "text/html" in request.headers.get("accept", ""):
        page = render_error(request, error)
        page.headers.update(headers)
        return page
    body = ErrorResponse(error=error.body()).model_dump(mode="json")
    return JSONResponse(body, error.status, headers)


def render_unexpected(request: Request, error: Exception) -> Response:
    """Log an error that nobody expected, and say no more of it than that it happened."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return render(request, LayerPruneError("the server failed on this request", code="internal"))


def as_http(error: LayerPruneError) -> HTTPException:
    """Wrap an error that must pass the framework's reading of a body, which swallows all others."""
    wrapped = HTTPException(error.status)
    wrapped.__cause__ = error
    return wrapped


def bad_input(error: ValidationError | RequestValidationError, *, within: tuple[str | int, ...] = ()) -> BadInput:
    """Say the first of pydantic's complaints in our shape; `within` is where the validated value stands."""
    complaints = list(error.errors())
    first = complaints[0]
    location = [*within, *first["loc"]]
    if location and location[0] in ("body", "query", "path", "header"):
        location = location[1:]
    field = ".".join(str(part) for part in location if part not in TARGET_FORMS)
    if first["type"] == "json_invalid":
        return _broken_json(str(first["loc"][-1]), str(first.get("ctx", {}).get("error", "")))
    more = f" ({len(complaints) - 1} more)" if len(complaints) > 1 else ""
    message = str(first["msg"]).removeprefix("Value error, ")
    return BadInput(
        f"{field or 'the body'}: {message}{more}",
        field=field or None,
        value=_shown(first.get("input")),
        remedy=_remedy(first["type"], field),
        code=str(first["type"]),
    )


def _broken_json(place: str, complaint: str) -> BadInput:
    return BadInput(
        f"the body is no JSON, from character {place} on: {complaint or 'it is broken'}",
        value=place,
        remedy="Send well-formed JSON.",
        code="json_invalid",
    )


def _remedy(kind: str, field: str) -> str:
    if kind == "extra_forbidden":
        return f"Remove {field!r} or correct its spelling; /openapi.json lists the known fields."
    if kind == "missing":
        return f"Add {field or 'a JSON body'!r}, with Content-Type: application/json."
    return f"Change {field or 'the body'} and send the request again."


def _shown(value: Any) -> Any:
    """Keep a value for the message: small, and such that JSON can say it."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return repr(value)[:SHOWN_CHARACTERS]
    return value if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, LayerPruneError)
    if error.status >= 500:
        log.error("%s %s failed: %s", request.method, request.url.path, error.message)
    return render(request, error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return render(request, bad_input(error))


async def _database(request: Request, error: Exception) -> Response:
    """Too many at once, a database that is away, a full disk: worth another try, unlike an error of ours."""
    log.error("%s %s failed in the database", request.method, request.url.path, exc_info=error)
    remedy = "Try again; if it happens again, look at the server's log and at the space on its disk."
    return render(request, Unavailable("the database cannot be used now", remedy=remedy))


async def _foreign(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    cause = error.__cause__
    if isinstance(cause, LayerPruneError):
        return render(request, cause)
    phrase = HTTPStatus(error.status_code).phrase
    ours = NotFound(
        f"{request.method} {request.url.path}: {str(error.detail or phrase).lower()}",
        value=request.url.path,
        remedy=REMEDIES.get(error.status_code, "Change the request and send it again."),
        code=phrase.lower().replace(" ", "_"),
    )
    ours.status = error.status_code
    response = render(request, ours)
    response.headers.update(error.headers or {})
    return response
