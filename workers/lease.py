"""Keep the lease of one attempt: heartbeats with the latest news, and the server's word to cancel."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

from layerprune.api.client import Client
from layerprune.api.errors import LayerPruneError
from layerprune.api.jobs import Progress
from layerprune.api.workers import ClaimedTask, Control, Heartbeat

log = logging.getLogger(__name__)

Ending = Literal["cancelled", "lost"]

PROGRESS_S = 1.0
"""News are told this soon after the last beat, so that a watcher sees them live."""


BETWEEN_POLLS_S = 0.1
"""A server that answers at once instead of waiting must not be asked without pause."""


class Lease:
    """The right to work on one attempt, from `__enter__` to `__exit__`.

    `ended` says why the right is gone; then a descriptor (`fileno`) becomes readable. The clock is monotonic and starts
    before each beat is sent, so the worker always believes the lease to end before the server does.
    """

    def __init__(self, client: Client, task: ClaimedTask, *, control_wait_s: float = 25.0) -> None:
        self._client = client
        self._task = task
        self._control_wait_s = control_wait_s
        self._margin_s = min(5.0, task.lease_expires_in_s / 4)
        self._expires = time.monotonic() + task.lease_expires_in_s
        self._next_beat_s = task.next_beat_s
        self._changed = threading.Condition()
        self._news = self._told = Heartbeat(attempt_no=task.attempt_no)
        self._closed = False
        self._reader, self._writer = os.pipe()
        self.ended: Ending | None = None

    def __enter__(self) -> Lease:
        for target in (self._beat, self._listen):
            threading.Thread(target=target, name=f"lease-{target.__name__}", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            os.close(self._reader)
            os.close(self._writer)

    def fileno(self) -> int:
        """Return a descriptor that becomes readable, and stays so, once the lease has ended."""
        return self._reader

    def seconds_left(self) -> float:
        """Return how long the work may go on without another renewal."""
        return self._expires - self._margin_s - time.monotonic()

    def tell(self, progress: Progress) -> None:
        """Have the next heartbeat carry this, soon."""
        self._add_news(progress=progress)

    def keep(self, checkpoint: str) -> None:
        """Have all heartbeats from now on name this state, from which the next attempt could go on."""
        self._add_news(checkpoint=checkpoint)

    @property
    def is_held(self) -> bool:
        """Whether the right to work has neither ended nor been given up."""
        return not self._over()

    def end(self, ending: Ending) -> None:
        """Give the lease up; the first reason stays."""
        with self._changed:
            if self.ended is None and not self._closed:
                self.ended = ending
                os.write(self._writer, b"!")
                self._changed.notify_all()

    def _add_news(self, **news: Progress | str) -> None:
        with self._changed:
            self._news = self._news.model_copy(update=news)
            self._changed.notify_all()

    def _over(self) -> bool:
        return self._closed or self.ended is not None

    def _beat(self) -> None:
        wait_s = self._next_beat_s
        while self._wait_for_beat(wait_s):
            beat = self._news
            sent = time.monotonic()
            control = self._ask(partial(self._client.heartbeat, beat=beat))
            if control is None:
                wait_s = min(self._next_beat_s, 1.0) * random.uniform(0.5, 1.0)
                continue
            self._told = beat
            self._expires = max(self._expires, sent + control.lease_expires_in_s)
            self._next_beat_s = wait_s = control.next_beat_s

    def _wait_for_beat(self, wait_s: float) -> bool:
        """Wait for the next beat's time, or for news a little after the last beat; False when it is over."""
        start = time.monotonic()
        with self._changed:
            while not self._over():
                due = start + (wait_s if self._news is self._told else min(PROGRESS_S, wait_s))
                left = due - time.monotonic()
                if left <= 0:
                    return True
                self._changed.wait(left)
        return False

    def _listen(self) -> None:
        while not self._over():
            answer = self._ask(partial(self._client.control, wait_s=self._control_wait_s))
            with self._changed:
                self._changed.wait_for(self._over, BETWEEN_POLLS_S if answer else random.uniform(0.5, 1.5))

    def _ask(self, call: Callable[[str, str], Control]) -> Control | None:
        """Call the server and obey its answer; None if there was none, and a refusal ends the lease."""
        try:
            control = call(self._task.attempt_id, self._task.lease_token)
        except LayerPruneError as error:
            if error.status < 500:
                if not self._over():
                    log.warning("attempt %s: %s", self._task.attempt_id, error.message)
                self.end("lost")
            return None
        except RuntimeError:
            # The attempt is over and the worker has closed the client under this thread.
            if not self._over():
                raise
            return None
        if control.cancel:
            self.end("cancelled")
        return control
