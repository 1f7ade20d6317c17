"""The `worker` command."""

from __future__ import annotations

import platform
import re
from typing import TYPE_CHECKING, Annotated, cast

import typer

from .options import DATA_FOLDER, AllowDownloads, DataFolder, DataRoots, Url
from .output import log_to_stderr

if TYPE_CHECKING:
    from ..api.catalogue import Role

ROLES = ("build", "measure")


def worker(
    roles: Annotated[str, typer.Option(help="build, measure or both, separated by commas.")] = "build,measure",
    device: Annotated[str | None, typer.Option(help="Name of this piece of hardware; needed to measure.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the worker.  [default: the device's or the host's]")] = None,
    description: Annotated[str, typer.Option(help="A word about the device for people.")] = "",
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            "--registration-token",
            envvar="LAYERPRUNE_TOKEN",
            help="Registration or admin token, needed at the first start; better given as LAYERPRUNE_TOKEN.",
        ),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(help="Measure with this interpreter, such as a board's /usr/bin/python3.  [default: this one]"),
    ] = None,
    allow_null: Annotated[bool, typer.Option(help="Take tasks of the null backend, which are never ranked.")] = False,
    data_root: DataRoots = None,
    allow_downloads: AllowDownloads = False,
    url: Url = None,
    data: DataFolder = DATA_FOLDER,
) -> None:
    """Run a worker that claims tasks and reports; it only dials out.

    Example: `LAYERPRUNE_URL=http://server:8000 LAYERPRUNE_TOKEN=lp_... layerprune worker --device box-2`
    """
    chosen = tuple(dict.fromkeys(role.strip() for role in roles.split(",") if role.strip()))
    unknown = [role for role in chosen if role not in ROLES]
    if unknown or not chosen:
        raise typer.BadParameter(f"{roles!r} is not a list of {' and '.join(ROLES)}", param_hint="--roles")
    if "measure" in chosen and not device:
        raise typer.BadParameter("a worker that measures needs the name of its device: --device NAME")

    from workers.config import WorkerSettings
    from workers.worker import Worker

    settings = WorkerSettings(
        name=name or device or host_name(),
        data=data,
        roles=cast("tuple[Role, ...]", chosen),
        device=device,
        description=description,
        url=url,
        token=token,
        python=python,
        allow_null=allow_null,
        data_roots=tuple(data_root or ()),
        allow_downloads=allow_downloads,
    )
    log_to_stderr()
    Worker(settings).run()


def host_name() -> str:
    """Return this host's name in the characters that a worker's name may have."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", platform.node())[:64].lstrip("._-") or "worker"
