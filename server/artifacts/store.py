"""Files by digest in a local folder: `sha256/ab/cdef...`."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO
from uuid import uuid4

from layerprune.api.errors import BadInput, NotFound, Unavailable


class DigestInvalid(BadInput):
    """The content is not what its name says."""

    status = 400
    code = "digest_invalid"
    default_remedy = "Compute the SHA-256 of the bytes that are sent and put it into the address."


class LocalStore:
    """Content that never changes; a file is there completely or not at all."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, digest: str) -> Path:
        """Say where content is, or would be."""
        return self._root / "sha256" / digest[:2] / digest[2:]

    def exists(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def open(self, digest: str) -> BinaryIO:
        """Open content for reading. Raises NotFound if it is not here."""
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError as error:
            raise NotFound(f"there is no artifact {digest}", value=digest) from error

    def remove(self, digest: str) -> None:
        """Delete content; it may be gone already."""
        self.path(digest).unlink(missing_ok=True)

    def receive(self, digest: str) -> Incoming:
        """Begin to store content; see `Incoming`."""
        return Incoming(self.path(digest), digest)


class Incoming:
    """Content on its way in: write it in pieces, then `keep` it; leaving the block without that forgets it."""

    def __init__(self, target: Path, digest: str) -> None:
        self._target = target
        self._digest = digest
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def __enter__(self) -> Incoming:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self._target.with_name(f".{self._target.name[:16]}.{uuid4().hex}.tmp")
        self._file = self._temporary.open("xb", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def write(self, piece: bytes) -> None:
        self._hash.update(piece)
        self.size_bytes += len(piece)
        try:
            self._file.write(piece)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise Unavailable("the server's disk is full", remedy="Free space in the server's data folder.") from error

    def keep(self) -> None:
        """Make the content durable under its name. Raises DigestInvalid if it is something else."""
        found = self._hash.hexdigest()
        if found != self._digest:
            raise DigestInvalid(
                f"the content's SHA-256 is {found}, the address says {self._digest}", field="digest", value=self._digest
            )
        self._file.flush()
        os.fsync(self._file.fileno())
        self._temporary.replace(self._target)
        for folder in (self._target.parent, self._target.parent.parent):
            _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
