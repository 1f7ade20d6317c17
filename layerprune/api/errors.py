"""The error tree, and the one shape in which an error crosses the wire.

LayerPruneError
├── BadInput            422  the caller can mend it: names the value and the remedy
│   └── UnknownName     422  lists the known names
├── NotAuthenticated    401
├── NotAllowed          403
├── NotFound            404
├── Conflict            409
│   └── LeaseLost       409  the attempt is no longer the worker's
├── TooLarge            413
├── UpgradeRequired     426
└── Unavailable         503
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from .wire import Wire

_READABLE = 30
"""More names than this are not listed in a message."""


class ErrorBody(Wire):
    """What went wrong, with which value, and what to do about it."""

    code: str
    message: str
    field: str | None = None
    value: Any = None
    remedy: str


class ErrorResponse(Wire):
    """The only shape an error response has."""

    error: ErrorBody


class LayerPruneError(Exception):
    """The root of our errors: a sentence, the offending value and the remedy."""

    status = 500
    code = "error"
    default_remedy = "Look at the server's log; if it happens again, report it with this message."

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        value: object = None,
        remedy: str = "",
        code: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.value = value
        self.remedy = remedy or self.default_remedy
        self.code = code or type(self).code

    @property
    def told(self) -> str:
        """What is wrong and what to do about it, in sentences."""
        return f"{self.message.rstrip('.')}. {self.remedy}"

    def body(self) -> ErrorBody:
        return ErrorBody(
            code=self.code,
            message=self.message,
            field=self.field,
            value=self.value,
            remedy=self.remedy,
        )


class BadInput(LayerPruneError):
    """The request cannot be served as it is."""

    status = 422
    code = "bad_input"
    default_remedy = "Change the named value and send the request again."


class UnknownName(BadInput):
    """A name that nobody here knows; the message lists the known ones."""

    code = "unknown_name"

    def __init__(self, kind: str, name: str, known: Iterable[str], *, field: str | None = None) -> None:
        super().__init__(
            f"unknown {kind} {name!r}; {_known(kind, name, sorted(known))}",
            field=field,
            value=name,
            remedy=f"Use one of the known names, or start a worker that offers {kind} {name!r}.",
            code=f"unknown_{kind.replace(' ', '_')}",
        )


def _known(kind: str, name: str, names: list[str]) -> str:
    """The known names, or the nearest of them where there are too many to read."""
    if not names:
        return f"known: there is no {kind} yet"
    if len(names) <= _READABLE:
        return f"known: {', '.join(names)}"
    near = difflib.get_close_matches(name, names, n=8, cutoff=0.0)
    return f"known: {len(names)}, of which the nearest are {', '.join(near)}"


class NotAuthenticated(LayerPruneError):
    """No token, or one that is broken, foreign, expired or revoked."""

    status = 401
    code = "not_authenticated"
    default_remedy = "Send 'Authorization: Bearer TOKEN'; on the server's own machine it stands in DATA/admin-token."


class NotAllowed(LayerPruneError):
    """A valid token that does not grant this."""

    status = 403
    code = "not_allowed"
    default_remedy = "Use a token of the kind that the message names."


class NotFound(LayerPruneError):
    """There is no such thing, or not for this token."""

    status = 404
    code = "not_found"
    default_remedy = "Check the id; list what there is with a GET on the collection."


class Conflict(LayerPruneError):
    """The request contradicts what is stored."""

    status = 409
    code = "conflict"
    default_remedy = "Look at the present state and decide anew; do not send the same request again."


class LeaseLost(Conflict):
    """The attempt has expired, was cancelled or belongs to somebody else now."""

    code = "lease_lost"
    default_remedy = "Stop the work on this attempt and claim a new task."


class TooLarge(LayerPruneError):
    """The body is over the limit that the message names."""

    status = 413
    code = "too_large"
    default_remedy = "Send less, or have the operator raise the limit."


class UpgradeRequired(LayerPruneError):
    """The worker speaks a protocol that is too old."""

    status = 426
    code = "upgrade_required"
    default_remedy = "Install the server's version of layerprune on the worker."


class Unavailable(LayerPruneError):
    """The server cannot be reached or cannot answer now."""

    status = 503
    code = "unavailable"
    default_remedy = "Check that the server runs at this address, and try again."
