"""How a worker is told to stop: by a signal, or by another thread."""

from __future__ import annotations

import logging
import os
import random
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from layerprune.api.errors import LayerPruneError

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 15.0


class Stopped(BaseException):
    """Breaks off a wait for the server; not an error, so no handler of errors may catch it."""


class Stop:
    """A request to stop that can be waited for next to file descriptors.

    A signal's handler may run between any two steps of the main thread, so it takes no lock: it sets an attribute and
    writes to a pipe.
    """

    def __init__(self) -> None:
        self.requested = False
        self._breakable = False
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def fileno(self) -> int:
        """Return a descriptor that becomes readable, and stays so, once a stop is requested."""
        return self._reader

    def request(self) -> None:
        """Ask the worker to stop."""
        if not self.requested:
            self.requested = True
            os.write(self._writer, b"!")

    def wait(self, seconds: float) -> bool:
        """Wait at most so long; say whether a stop was requested."""
        select.select([self], [], [], max(0.0, seconds))
        return self.requested

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """Let a signal break off what happens inside by raising Stopped."""
        self._breakable = True
        try:
            if self.requested:
                raise Stopped
            yield
        finally:
            self._breakable = False

    def persist(self, call: Callable[[], T], *, until: Callable[[], bool] = lambda: False) -> T:
        """Call until the server has answered, with growing, jittered waits; its refusals are raised.

        Raises Stopped when a stop is requested meanwhile, and the last error when `until()` says to give up.
        """
        wait_s = FIRST_WAIT_S
        while True:
            try:
                return call()
            except LayerPruneError as error:
                if error.status < 500 or until():
                    raise
                if wait_s == FIRST_WAIT_S:
                    log.warning("%s; trying again until it works", error.message)
            if self.wait(wait_s * random.uniform(0.5, 1.0)):
                raise Stopped
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Request a stop at SIGTERM or SIGINT; a second one has its usual effect."""

        def handle(number: int, _: FrameType | None) -> None:
            signal.signal(number, before[signal.Signals(number)])
            self.request()
            if self._breakable:
                raise Stopped

        before = {number: signal.signal(number, handle) or signal.SIG_DFL for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)
