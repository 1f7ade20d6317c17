"""Artifacts by digest on the worker's disk, so that what was fetched or made once is not fetched again."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from layerprune.api.errors import BadInput

_DIGEST = re.compile(r"[0-9a-f]{64}")
CAP_SHARE = 0.1
"""Whatever the limit, the cache takes no more than this share of the disk: a board's may hold 32 GB in all."""


class Cache:
    """Artifacts with a limit in bytes, or a tenth of the disk if less; what was used longest ago goes first.

    Belongs to one worker process. `download(digest, path)` is how a missing artifact is fetched; it verifies what it
    got.
    """

    def __init__(self, folder: Path, *, limit_bytes: int, download: Callable[[str, Path], object]) -> None:
        self._folder = folder
        self._download = download
        folder.mkdir(parents=True, exist_ok=True)
        self._limit_bytes = min(limit_bytes, int(shutil.disk_usage(folder).total * CAP_SHARE))
        for leftover in folder.iterdir():
            if not _DIGEST.fullmatch(leftover.name):
                leftover.unlink()

    def fetch(self, digest: str, target: Path) -> None:
        """Put the artifact at `target`, from the cache if it is there and whole, else from the server."""
        held = self._path(digest)
        if not _is_whole(held, digest):
            part = held.with_suffix(".part")
            self._download(digest, part)
            part.replace(held)
            self._trim(keep=held)
        os.utime(held)
        _place(held, target)

    def add(self, digest: str, source: Path) -> None:
        """Keep a file that was made here, whose digest is known."""
        held = self._path(digest)
        if not held.exists():
            part = held.with_suffix(".part")
            part.unlink(missing_ok=True)
            _place(source, part)
            part.replace(held)
            self._trim(keep=held)

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise BadInput("an artifact is named by its SHA-256 digest", field="digest", value=digest)
        return self._folder / digest

    def _trim(self, *, keep: Path) -> None:
        files = sorted((path for path in self._folder.iterdir() if path != keep), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in files) + keep.stat().st_size
        for path in files:
            if total <= self._limit_bytes:
                return
            total -= path.stat().st_size
            path.unlink()


def _is_whole(path: Path, digest: str) -> bool:
    """Say whether the file is there and what it claims to be: a power cut can leave half of it."""
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                found.update(piece)
    except FileNotFoundError:
        return False
    return found.hexdigest() == digest


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        # Another file system, or one without hard links.
        shutil.copyfile(source, target)
