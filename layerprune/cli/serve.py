"""The `serve` command: the server alone."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from .options import DATA_FOLDER, HOST, PORT, DataFolder, Host, Port
from .output import console, log_to_stderr

BACKLOG = 128
GRACE_S = 3
"""How long open answers (long polls, downloads) may take once the server is told to stop."""


def serve(
    data: DataFolder = DATA_FOLDER,
    host: Host = HOST,
    port: Port = PORT,
    listening_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the server without a worker; `layerprune up` runs both.

    Example: `LAYERPRUNE_DATABASE_URL=postgresql+psycopg://... layerprune serve --host 0.0.0.0 --port 8000`
    """
    if listening_fd is None:
        with listen(host, port) as listener, published(data, address_of(listener)) as url:
            console().print(f"LayerPrune serves {data} at {url}", soft_wrap=True)
            if host not in ("127.0.0.1", "localhost", "::1"):
                console().print(
                    "Other machines can reach it: put a proxy with TLS before it, tokens travel as they are."
                )
            _run(data, host, listener)
    else:
        with socket.socket(fileno=listening_fd) as listener:
            _run(data, host, listener)


def listen(host: str, port: int) -> socket.socket:
    """Open the socket; raises BadInput if the address is taken or not ours."""
    from ..api.errors import BadInput

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise BadInput(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            field="port",
            value=port,
            remedy="Stop what listens there, or choose another port; --port 0 takes any free one.",
        ) from error


def address_of(listener: socket.socket) -> str:
    """Return the URL under which this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


@contextmanager
def published(data: Path, url: str) -> Iterator[str]:
    """While it lasts, the data folder says at which address it is served, so that the command line finds it."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    (data / "url").write_text(url + "\n")
    try:
        yield url
    finally:
        (data / "url").unlink(missing_ok=True)


def _run(data: Path, host: str, listener: socket.socket) -> None:
    import uvicorn
    from pydantic import ValidationError
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    from server.app import create_app
    from server.bootstrap import bootstrap
    from server.config import Settings

    from ..api.errors import BadInput, Unavailable

    try:
        settings = Settings(data=data, host=host, port=listener.getsockname()[1])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = f"LAYERPRUNE_{'_'.join(str(part) for part in first['loc'])}".upper()
        raise BadInput(
            f"{name}: {first['msg']} (it is {first['input']!r})", field=name, value=first["input"]
        ) from error
    log_to_stderr()
    try:
        bootstrap(settings)
    except SQLAlchemyError as error:
        raise Unavailable(
            f"cannot use the database {make_url(settings.url)!r}: {str(error).splitlines()[0]}",
            remedy="Check LAYERPRUNE_DATABASE_URL and that the database runs, or leave it out to use SQLite.",
        ) from error
    config = uvicorn.Config(
        create_app(settings), log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_S, server_header=False
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        # uvicorn has shut down by then and only repeats the signal.
        return
