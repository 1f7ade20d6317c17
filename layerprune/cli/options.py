"""Options that several commands share, and the client that they lead to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..api.client import Client

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="LAYERPRUNE_URL",
        help="Address of the server.  [default: the one that runs on the data folder]",
        show_default=False,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="LAYERPRUNE_DATA",
        help="Data folder of the server, if it is on this machine.  [default: ./layerprune-data]",
        show_default=False,
    ),
]
DataFolder = Annotated[
    Path,
    typer.Option("--data", envvar="LAYERPRUNE_DATA", help="Folder for everything that is kept; made if missing."),
]
Host = Annotated[str, typer.Option("--host", envvar="LAYERPRUNE_HOST", help="Address to listen on.")]
Port = Annotated[
    int,
    typer.Option("--port", envvar="LAYERPRUNE_PORT", min=0, max=65535, help="Port to listen on; 0 picks a free one."),
]
DataRoots = Annotated[
    list[Path] | None,
    typer.Option(
        "--data-root",
        help="Folder below which jobs may name images by path; may be given several times.",
        exists=True,
        file_okay=False,
    ),
]
AllowDownloads = Annotated[
    bool,
    typer.Option("--allow-downloads", help="Download CIFAR-10 and CIFAR-100 to DATA/datasets when a job asks."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

DATA_FOLDER = Path("layerprune-data")
HOST = "127.0.0.1"
PORT = 8000


def connect(url: str | None, data: Path | None) -> Client:
    """Return a client for the server that the options and the environment name."""
    from ..api.client import Client

    return Client(url, data=data)
