"""Wake long polls when something changed: in this process directly, in others through PostgreSQL's NOTIFY.

A wake-up is a hint, never the truth: whoever waits looks at the database again, and does so every `RECHECK_S` anyway,
so that several processes on one SQLite file work too.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

log = logging.getLogger(__name__)
CHANNEL = "layerprune"
RECHECK_S = 2.0
RECONNECT_S = 1.0
T = TypeVar("T")


def announce(session: Session, *topics: str) -> None:
    """Wake those who wait for the topics once the session has committed; nothing happens if it never does."""
    session.info.setdefault("topics", set()).update(topics)


class Notifier:
    """Topics are `tasks`, `job:ID` and `attempt:ID`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = defaultdict(set)
        self._closed = threading.Event()
        self._listener: threading.Thread | None = None

    def wake(self, topic: str) -> None:
        """Wake everybody in this process who waits for the topic; may be called from any thread."""
        with self._lock:
            for loop, event in self._waiting.get(topic, ()):
                loop.call_soon_threadsafe(event.set)

    async def wait(self, topic: str, timeout_s: float) -> bool:
        """Wait for the topic; tell whether it came before the time was up."""
        with self.subscribe(topic) as event:
            return await _wait(event, timeout_s)

    @contextmanager
    def subscribe(self, *topics: str) -> Iterator[asyncio.Event]:
        """Give an event that is set by the topics from now on, so that nothing is missed while looking."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            for topic in topics:
                self._waiting[topic].add(entry)
        try:
            yield entry[1]
        finally:
            with self._lock:
                for topic in topics:
                    self._waiting[topic].discard(entry)
                    if not self._waiting[topic]:
                        del self._waiting[topic]

    def is_awaited(self, topic: str) -> bool:
        """Whether somebody in this process waits for the topic."""
        with self._lock:
            return topic in self._waiting

    def listen(self, engine: Engine) -> None:
        """Pass on what other processes announce; PostgreSQL only, for others this does nothing."""
        if engine.dialect.name != "postgresql":
            return
        url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._listener = threading.Thread(target=self._listen, args=(url,), name="notify", daemon=True)
        self._listener.start()

    def close(self) -> None:
        """End the listener and wake everybody, so that a stopping server need not wait for long polls."""
        self._closed.set()
        with self._lock:
            topics = list(self._waiting)
        for topic in topics:
            self.wake(topic)
        if self._listener:
            self._listener.join()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def _listen(self, url: str) -> None:
        while not self.closed:
            try:
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    while not self.closed:
                        for notice in connection.notifies(timeout=0.5):
                            self.wake(notice.payload)
            except psycopg.Error as error:
                log.warning("listening to the database broke off, trying again: %s", error)
                self._closed.wait(RECONNECT_S)


async def long_poll(
    request: Request, topics: tuple[str, ...], check: Callable[[], T | None], wait_s: float
) -> T | None:
    """Run `check` in a thread until it gives something, the time is up or the client has gone; then give None.

    `check` opens and closes its own session: no session is held while waiting.
    """
    notifier: Notifier = request.app.state.notifier
    loop = asyncio.get_running_loop()
    end = loop.time() + wait_s
    with notifier.subscribe(*topics) as event:
        while True:
            event.clear()
            if (found := await run_in_threadpool(check)) is not None:
                return found
            left = end - loop.time()
            if left <= 0 or notifier.closed or await request.is_disconnected():
                return None
            await _wait(event, min(left, RECHECK_S))


async def _wait(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except asyncio.TimeoutError:
        return False
    return True
