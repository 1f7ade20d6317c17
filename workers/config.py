"""What a worker is told at its start; built once, by the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from layerprune import roots
from layerprune.api.catalogue import Role

from . import interpreter

GIB = 1024**3


@dataclass(frozen=True)
class WorkerSettings:
    """One worker: its name, its roles, its device, and where it keeps its files.

    `token` is an admin or a registration token and is needed only until the worker has one of its own; without it the
    client's own look-up applies (LAYERPRUNE_TOKEN, then DATA/admin-token). `lock_folder` is where the workers of this
    host meet (see `workers.hostlock`). Jobs may name images by a path below one of `data_roots`, and only there; public
    sets are downloaded, to DATA/datasets, only with `allow_downloads`. `python` is another interpreter to measure with,
    such as a board's own.
    """

    name: str
    data: Path
    roles: tuple[Role, ...] = ("build", "measure")
    device: str | None = None
    description: str = ""
    url: str | None = None
    token: str | None = None
    python: str | None = None
    allow_null: bool = False
    cache_bytes: int = 10 * GIB
    claim_wait_s: float = 25.0
    lock_folder: Path | None = None
    data_roots: tuple[Path, ...] = ()
    allow_downloads: bool = False

    @property
    def folder(self) -> Path:
        """DATA/workers/NAME: token, task folders, cache and spool of this worker alone."""
        return self.data / "workers" / self.name

    @property
    def measure_environment(self) -> dict[str, str]:
        """What measuring children are told by their environment (see `workers.interpreter`)."""
        told = {interpreter.CACHE_VARIABLE: str(self.folder.absolute() / "runtimes")}
        return told if self.python is None else {**told, interpreter.VARIABLE: self.python}

    @property
    def build_environment(self) -> dict[str, str]:
        """What build children are told by their environment (see `layerprune.roots`)."""
        told = {roots.ROOTS: os.pathsep.join(str(root.absolute()) for root in self.data_roots)}
        if self.allow_downloads:
            told[roots.DOWNLOADS] = str((self.data / "datasets").absolute())
        return told
