"""Where the server is, which token opens it, and requests that survive a short outage."""

from __future__ import annotations

import json
import os
import random
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from . import errors
from .errors import BadInput, ErrorResponse, LayerPruneError, NotAuthenticated, Unavailable, UnknownName

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_DATA = Path("layerprune-data")
TOKEN_FILE = "admin-token"
URL_FILE = "url"

RETRY_WAITS_S = (0.2, 0.5, 1.0, 2.0)
ANSWER_S = 30.0
"""How long an answer may take, on top of what a long poll asked for."""
TRANSIENT = (502, 503, 504)
LOOPBACK = ("127.0.0.1", "localhost", "::1")
CA_FILE = "SSL_CERT_FILE"
"""Names a file of the authorities to trust instead of the usual ones, as for curl and OpenSSL."""

_BY_STATUS: dict[int, type[LayerPruneError]] = {
    400: errors.BadInput,
    401: errors.NotAuthenticated,
    403: errors.NotAllowed,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    422: errors.BadInput,
    426: errors.UpgradeRequired,
    503: errors.Unavailable,
}


@dataclass(frozen=True)
class Address:
    """A server's URL and the token for it."""

    url: str
    token: str | None = field(repr=False)

    @classmethod
    def find(cls, url: str | None = None, token: str | None = None, *, data: Path | str | None = None) -> Address:
        """Resolve what is given, then LAYERPRUNE_URL, _TOKEN and _DATA, then the files in the data folder.

        A data folder found by default gives its token only to its own server, so that the admin token of this machine
        is never sent to another one by accident; naming the folder is a statement that it belongs to the URL.
        """
        named = data or os.environ.get("LAYERPRUNE_DATA")
        folder = Path(named or DEFAULT_DATA)
        own_url = _read(folder / URL_FILE)
        chosen = _checked_url(url or os.environ.get("LAYERPRUNE_URL") or own_url or DEFAULT_URL)
        secret = token or os.environ.get("LAYERPRUNE_TOKEN")
        if not secret and (named or chosen == own_url or is_loopback(chosen)):
            secret = _read(folder / TOKEN_FILE)
        return cls(chosen, _checked_token(secret) if secret else None)


def is_loopback(url: str) -> bool:
    """Say whether the URL names this very machine."""
    return urlsplit(url).hostname in LOOPBACK


class Connection:
    """One server, spoken to in JSON; our errors come out, whatever happened."""

    def __init__(self, address: Address, *, retry_waits_s: tuple[float, ...] = RETRY_WAITS_S) -> None:
        self.address = address
        self._retry_waits_s = retry_waits_s
        # A proxy from the environment must not stand between a client and the server on the same machine.
        self._http = httpx.Client(
            base_url=address.url,
            headers={"Authorization": f"Bearer {address.token}"} if address.token else {},
            timeout=httpx.Timeout(ANSWER_S, connect=5),
            trust_env=not is_loopback(address.url),
            verify=_trusted(),
        )

    def close(self) -> None:
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool | None = None,
        timeout_s: float = ANSWER_S,
    ) -> httpx.Response:
        """Send JSON and return the answer, or raise the error that it carries.

        `idempotent` says that sending twice does no harm (by default: all but POST); others are sent again only if the
        connection was never made.
        """
        repeat = method != "POST" if idempotent is None else idempotent
        request_headers = dict(headers or {})
        content = None
        if body is not None:
            content = _encoded(body)
            request_headers["Content-Type"] = "application/json"
        query = {name: value for name, value in (params or {}).items() if value is not None}
        for pause in self._pauses():
            with self._attempt(repeat, pause) as attempt:
                attempt.response = self._http.request(
                    method,
                    path,
                    content=content,
                    params=query,
                    headers=request_headers,
                    timeout=httpx.Timeout(timeout_s, connect=5),
                )
            if attempt.response is not None:
                return attempt.response
        raise AssertionError("the last attempt returns or raises")

    def put_file(self, path: str, source: Path) -> None:
        """Stream a file to the server."""
        for pause in self._pauses():
            with self._attempt(True, pause) as attempt, source.open("rb") as content:
                attempt.response = self._http.put(path, content=content, timeout=httpx.Timeout(300, connect=5))
            if attempt.response is not None:
                return

    def exists(self, path: str) -> bool:
        """Ask with HEAD, whose answers have no body."""
        try:
            self.request("HEAD", path)
        except errors.NotFound:
            return False
        return True

    def get_file(self, path: str, target: Path) -> None:
        """Stream the server's answer into a file."""
        for pause in self._pauses():
            with self._attempt(True, pause) as attempt:
                with self._http.stream("GET", path, timeout=httpx.Timeout(60, connect=5)) as response:
                    if response.is_success:
                        with target.open("wb") as out:
                            for piece in response.iter_bytes(1 << 20):
                                out.write(piece)
                    else:
                        response.read()
                attempt.response = response
            if attempt.response is not None:
                return

    def _pauses(self) -> Iterator[float | None]:
        """Yield how long to wait after each attempt if it fails; None after the last."""
        for wait in self._retry_waits_s:
            yield wait * random.uniform(0.5, 1.5)
        yield None

    @contextmanager
    def _attempt(self, repeat: bool, pause: float | None) -> Iterator[_Attempt]:
        """Run one attempt: a transient failure leaves `response` empty and waits, a final one is raised."""
        attempt = _Attempt()
        try:
            yield attempt
        except httpx.TransportError as error:
            attempt.response = None
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise self._untrusted(error) from error
            never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            if pause is None or not (repeat or never_sent):
                raise self._unreachable(error) from error
            time.sleep(pause)
            return
        response = attempt.response
        assert response is not None
        if response.is_success:
            return
        if response.status_code in TRANSIENT and repeat and pause is not None:
            attempt.response = None
            time.sleep(pause)
            return
        raise error_in(response)

    def _untrusted(self, error: httpx.TransportError) -> BadInput:
        return BadInput(
            f"the certificate of {self.address.url} is not trusted here ({error})",
            field="url",
            value=self.address.url,
            remedy=f"If it comes from an authority of your own, name that one's certificate in {CA_FILE}.",
        )

    def _unreachable(self, error: httpx.TransportError) -> Unavailable:
        return Unavailable(
            f"no answer from the server at {self.address.url} ({str(error) or type(error).__name__})",
            value=self.address.url,
            remedy="Start one here with 'layerprune up', or set LAYERPRUNE_URL to the address of a running one.",
        )


@dataclass
class _Attempt:
    response: httpx.Response | None = None


def error_in(response: httpx.Response) -> LayerPruneError:
    """Rebuild the error that the server raised; an answer that is not ours still becomes one of ours."""
    status = response.status_code
    kind = _BY_STATUS.get(status, LayerPruneError)
    try:
        body = ErrorResponse.model_validate_json(response.content, extra="ignore").error
    except ValidationError:
        asked = f"{response.request.method} {response.request.url.path}"
        return kind(f"{asked} was answered with {status} {response.reason_phrase}", value=status)
    if body.code == errors.LeaseLost.code:
        kind = errors.LeaseLost
    elif kind is BadInput and body.code.startswith("unknown_"):
        kind = UnknownName
    # UnknownName composes its sentence from names; here the sentence exists already.
    error = kind.__new__(kind)
    LayerPruneError.__init__(
        error, body.message, field=body.field, value=body.value, remedy=body.remedy, code=body.code
    )
    return error


def _trusted() -> ssl.SSLContext:
    """Trust the usual authorities, or those that SSL_CERT_FILE or SSL_CERT_DIR name, also for this very machine."""
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        named = os.environ.get(CA_FILE)
        raise BadInput(
            f"cannot read the certificates in {named}: {error}",
            field=CA_FILE,
            value=named,
            remedy=f"Let {CA_FILE} name a readable file in PEM format, or unset it.",
        ) from error


def _encoded(body: Any) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except ValueError as error:
        raise BadInput("the request contains NaN or infinity, which JSON has no word for") from error


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise NotAuthenticated(
            f"cannot read {path}: {error}", value=str(path), remedy="Run as the user who started the server."
        ) from error


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(
            f"{url!r} is not the address of a server",
            field="url",
            value=url,
            remedy=f"Write it like {DEFAULT_URL}; it comes from --url or LAYERPRUNE_URL.",
        )
    return url.rstrip("/")


def _checked_token(token: str) -> str:
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise NotAuthenticated("the token contains characters that no token has", remedy="Copy it again, whole.")
    return token
