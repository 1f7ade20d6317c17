"""What every call to the server needs: address, token, connection, and typed answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from .connection import ANSWER_S, RETRY_WAITS_S, Address, Connection
from .errors import LayerPruneError, NotAuthenticated

T = TypeVar("T")


class Calls:
    """A connection to one server; the calls themselves are in `client` and `worker_calls`."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        data: Path | str | None = None,
        retry_waits_s: tuple[float, ...] = RETRY_WAITS_S,
    ) -> None:
        self.address = Address.find(url, token, data=data)
        self._connection = Connection(self.address, retry_waits_s=retry_waits_s)

    @property
    def url(self) -> str:
        return self.address.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def check_health(self, *, timeout_s: float = ANSWER_S) -> None:
        """Return if the server answers; needs no token."""
        self._connection.request("GET", "/healthz", timeout_s=timeout_s)

    def _get(self, path: str, answer: type[T], **params: object) -> T:
        return parsed(self._request("GET", path, params=params), answer)

    def _post(self, path: str, answer: type[T], body: Any = None, **how: Any) -> T:
        return parsed(self._request("POST", path, body=body, **how), answer)

    def _request(self, method: str, path: str, *, wait_s: float = 0, **how: Any) -> httpx.Response:
        if self.address.token is None:
            raise NotAuthenticated(
                f"there is no token for {self.url}",
                remedy="Start a server here with 'layerprune up', or set LAYERPRUNE_TOKEN, or set LAYERPRUNE_DATA to"
                " the server's data folder.",
            )
        return self._connection.request(method, path, timeout_s=ANSWER_S + wait_s, **how)


def parsed(response: httpx.Response, answer: type[T]) -> T:
    """Read an answer of the server as a type; a newer server may say more than we know."""
    try:
        return TypeAdapter(answer).validate_json(response.content, extra="ignore")
    except ValidationError as error:
        raise LayerPruneError(
            f"the server's answer to {response.request.url.path} is not what this version expects: {error}",
            code="unexpected_answer",
            remedy="Use the same version of layerprune on both sides.",
        ) from error


def segment(name: str) -> str:
    """Write a name as one part of an address."""
    return quote(name, safe="")
