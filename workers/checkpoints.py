"""Upload the state that a training leaves in its task's folder, beside the task, so that the next attempt has it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from layerprune.api.errors import LayerPruneError

from .child import CHECKPOINT
from .lease import Lease

log = logging.getLogger(__name__)

UPLOAD_SHARE = 0.05
"""Part of the time that may go into uploads: a large state over a slow network is sent seldom."""


class CheckpointUpload:
    """Watches one task's folder; what it uploaded is named to the server with the next heartbeat.

    An upload that fails is only logged: the next state gets its own chance, and without any the next attempt starts
    from the beginning.
    """

    def __init__(self, folder: Path, lease: Lease, upload: Callable[[Path], str]) -> None:
        self._path = folder / CHECKPOINT
        self._frozen = folder / f"{CHECKPOINT}.upload"
        self._lease = lease
        self._upload = upload
        self._seen = 0
        self._not_before = 0.0
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Start the upload of a state that is new, unless one is under way; returns at once."""
        if (self._thread is not None and self._thread.is_alive()) or time.monotonic() < self._not_before:
            return
        try:
            written = self._path.stat().st_mtime_ns
            if written == self._seen:
                return
            # The training replaces its file and never writes into it, so a second name keeps this state as it is.
            self._frozen.unlink(missing_ok=True)
            self._frozen.hardlink_to(self._path)
        except OSError:
            return  # there is none yet, or the disk has no room for a name
        self._seen = written
        self._thread = threading.Thread(target=self._send, name="checkpoint-upload", daemon=True)
        self._thread.start()

    def _send(self) -> None:
        started = time.monotonic()
        try:
            self._lease.keep(self._upload(self._frozen))
        except (LayerPruneError, OSError) as error:
            log.warning("a checkpoint could not be uploaded: %s", error)
        except RuntimeError:
            # The attempt is over and the worker has closed the client under this thread.
            if self._lease.is_held:
                raise
        self._not_before = time.monotonic() + (time.monotonic() - started) / UPLOAD_SHARE
