"""Keep builds and measurements of one host apart, whichever workers run them.

Two files are locked with flock(2), in a folder that all workers of the host share. Builds hold `host` shared, a
measurement holds it exclusively. A measurement first takes `gate` exclusively and keeps it: builds that start, and
running builds at their next checkpoint, see the closed gate, let go of `host` and wait. A dead process's locks vanish
with it.

One lock for the whole host, however many GPUs it has: what runs on one of them takes processors, memory, cooling and
power from the others. Programs that take no lock are found by the sensors (`workers.harness.sensors.check_free`).

The folder is LAYERPRUNE_LOCK_DIR, or `layerprune-locks` in the system's temporary folder; workers in containers must
mount the same one.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Checkpoint = Callable[[], None]


def default_folder() -> Path:
    """Return the folder in which the workers of this host meet."""
    return Path(os.environ.get("LAYERPRUNE_LOCK_DIR") or Path(tempfile.gettempdir()) / "layerprune-locks")


class HostLock:
    """The machine, shared by builds or had by one measurement alone.

    `on_wait(True)` is called before a wait for somebody else and `on_wait(False)` after it, so that a caller can stop
    the clock of a deadline.
    """

    def __init__(self, folder: Path | None = None, *, on_wait: Callable[[bool], None] | None = None) -> None:
        self._folder = folder or default_folder()
        self._on_wait = on_wait

    @contextmanager
    def building(self) -> Iterator[Checkpoint]:
        """Share the machine with other builds; yields the checkpoint at which to let a measurement pass."""
        with self._open("gate") as gate, self._open("host") as host:

            def enter() -> None:
                self._lock(gate, fcntl.LOCK_SH)
                self._lock(host, fcntl.LOCK_SH)
                fcntl.flock(gate, fcntl.LOCK_UN)

            def checkpoint() -> None:
                if _try_lock(gate, fcntl.LOCK_SH):
                    fcntl.flock(gate, fcntl.LOCK_UN)
                    return
                fcntl.flock(host, fcntl.LOCK_UN)
                enter()

            enter()
            yield checkpoint

    @contextmanager
    def measuring(self) -> Iterator[Checkpoint]:
        """Have the machine alone; the checkpoint that it yields does nothing."""
        with self._open("gate") as gate, self._open("host") as host:
            self._lock(gate, fcntl.LOCK_EX)
            self._lock(host, fcntl.LOCK_EX)
            yield lambda: None

    def _lock(self, file: int, operation: int) -> None:
        if _try_lock(file, operation):
            return
        if self._on_wait is not None:
            self._on_wait(True)
        fcntl.flock(file, operation)
        if self._on_wait is not None:
            self._on_wait(False)

    @contextmanager
    def _open(self, name: str) -> Iterator[int]:
        file = _open_shared(self._folder, f"{name}.lock")
        try:
            yield file
        finally:
            os.close(file)


def _try_lock(file: int, operation: int) -> bool:
    try:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_shared(folder: Path, name: str) -> int:
    """Open a lock file that every user of the host may lock, and make it if it is missing."""
    try:
        folder.mkdir(parents=True)
        folder.chmod(0o1777)
    except FileExistsError:
        pass
    path = folder / name
    # Without O_CREAT first: Linux refuses O_CREAT on another user's file in a sticky folder (fs.protected_regular).
    while True:
        try:
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            try:
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            except FileExistsError:
                continue
            os.fchmod(file, 0o666)
            return file
