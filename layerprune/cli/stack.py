"""A server and a worker as supervised children of one process: what `up` and `demo` run."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from ..api.client import Client
from ..api.errors import Conflict, LayerPruneError, Unavailable
from .serve import address_of, listen, published

DEVICE = "local-cpu"
START_S = 90
"""Importing the server and migrating a new database take seconds; a minute and a half means something is wrong."""
WORKER_GRACE_S = 20
SERVER_GRACE_S = 8
RESTART_WAITS_S = (1, 2, 5, 10, 30)
STEADY_S = 60
"""A child that ran this long has started well; its next death counts as the first."""
LOCAL_HEARTBEAT_S = "2"
"""On one machine a beat costs nothing, and progress is as fresh as the beats."""
LOG_BYTES = 5_000_000
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Locked:
    """Hold the data folder, so that a second `up` on it is refused; a dead holder's lock vanishes with it."""

    def __init__(self, data: Path) -> None:
        self._path = data / "up.lock"

    def __enter__(self) -> None:
        self._file: IO[str] = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            pid = self._file.read().strip() or "unknown"
            self._file.close()
            raise Conflict(
                f"{self._path.parent} is served already, by process {pid}",
                value=str(self._path.parent),
                remedy=f"Use the one that runs, stop it with 'kill {pid}', or choose another folder with --data.",
            ) from error
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def __exit__(self, *_: object) -> None:
        self._file.close()


@dataclass
class Child:
    """One supervised process, its log, and when it may start again."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    pass_fds: tuple[int, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    started: float = 0
    restart_at: float = field(default=0)

    def start(self) -> None:
        from workers.lifeline import die_with

        parent = os.getpid()
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".old.log"))
        with self.log.open("ab") as out:
            # A session of its own keeps the terminal's Ctrl-C from reaching it: the order of stopping is ours.
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=self.pass_fds,
                start_new_session=True,
                preexec_fn=lambda: die_with(parent),
            )
        self.started = time.monotonic()

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Signal the process, and at SIGKILL its whole group."""
        if self.process is None or self.process.poll() is not None:
            return
        if number is signal.SIGKILL:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def last_words(self, lines: int = 15) -> str:
        """Return the end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


class Stack:
    """Server and worker on one data folder: start, keep alive, stop in order.

    Use it as a context manager in the main thread. While it starts and runs, SIGINT and SIGTERM raise
    KeyboardInterrupt; while it stops, another one kills what still runs. A kill -9 of this process takes the children
    with it.
    """

    def __init__(
        self,
        data: Path,
        host: str,
        port: int,
        *,
        say: Callable[[str], None],
        data_roots: Sequence[Path] = (),
        allow_downloads: bool = False,
    ) -> None:
        self.data = data
        self._host = host
        self._port = port
        self._say = say
        self._sources = [part for root in data_roots for part in ("--data-root", str(root))]
        self._sources += ["--allow-downloads"] * allow_downloads
        self._undo = ExitStack()
        self.children: list[Child] = []
        self.url = ""
        self._begun_at = time.time_ns() // 1000

    def __enter__(self) -> Stack:
        for number in STOPPING:
            self._undo.callback(signal.signal, number, signal.signal(number, signal.default_int_handler))
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def client(self) -> Client:
        """Return a client with the admin token of the data folder."""
        return Client(self.url, _read_token(self.data))

    def check(self) -> None:
        """Start a child again if it has died, after a wait that grows with each death; call it often."""
        now = time.monotonic()
        for child in self.children:
            if child.is_running():
                continue
            if child.restart_at == 0:
                assert child.process is not None
                child.deaths = 1 if now - child.started > STEADY_S else child.deaths + 1
                wait_s = RESTART_WAITS_S[min(child.deaths, len(RESTART_WAITS_S)) - 1]
                child.restart_at = now + wait_s
                self._say(
                    f"The {child.name} has ended ({_cause(child.process.returncode)}; see {child.log});"
                    f" starting it again in {wait_s} s."
                )
            elif now >= child.restart_at:
                child.restart_at = 0
                child.start()

    def _start(self) -> None:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._undo.enter_context(Locked(self.data))
        listener = self._undo.enter_context(listen(self._host, self._port))
        self.url = self._undo.enter_context(published(self.data, address_of(listener)))
        logs = self.data / "logs"
        logs.mkdir(exist_ok=True)
        # The listening socket is ours, so that requests wait instead of failing while a dead server is started again.
        server = Child(
            "server",
            _layerprune(
                "serve", "--data", str(self.data), "--host", self._host, "--listening-fd", str(listener.fileno())
            ),
            {"LAYERPRUNE_HEARTBEAT_S": LOCAL_HEARTBEAT_S, **os.environ},
            logs / "server.log",
            (listener.fileno(),),
        )
        self._launch(server, until=self._answers)
        environment = {**os.environ, "LAYERPRUNE_URL": self.url, "LAYERPRUNE_TOKEN": _read_token(self.data)}
        worker = Child(
            "worker",
            _layerprune(
                "worker", "--roles", "build,measure", "--device", DEVICE, "--data", str(self.data), *self._sources
            ),
            environment,
            logs / "worker.log",
        )
        self._launch(worker, until=self._has_device)

    def _launch(self, child: Child, *, until: Callable[[], bool]) -> None:
        self.children.append(child)
        child.start()
        deadline = time.monotonic() + START_S
        while not until():
            if not child.is_running() or time.monotonic() > deadline:
                assert child.process is not None
                what = (
                    f"ended at once ({_cause(child.process.returncode)})" if child.process.returncode else "is silent"
                )
                raise LayerPruneError(
                    f"the {child.name} {what}; the end of {child.log}:\n{child.last_words()}",
                    code="not_started",
                    remedy="Mend what the log names and start again.",
                )
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with Client(self.url, "none", retry_waits_s=()) as client:
                client.check_health(timeout_s=1)
        except Unavailable:
            return False
        return True

    def _has_device(self) -> bool:
        with self.client() as client:
            seen = [device.last_seen_at or 0 for device in client.list_devices() if device.name == DEVICE]
        return any(moment > self._begun_at for moment in seen)

    def _stop(self) -> None:
        """Stop the worker, then the server; a signal meanwhile kills both."""
        hurried = False

        def hurry(_number: int, _frame: FrameType | None) -> None:
            nonlocal hurried
            hurried = True

        for number in STOPPING:
            signal.signal(number, hurry)
        for child, grace_s in zip(reversed(self.children), (WORKER_GRACE_S, SERVER_GRACE_S), strict=False):
            child.send(signal.SIGTERM)
            deadline = time.monotonic() + grace_s
            while child.is_running() and not hurried and time.monotonic() < deadline:
                time.sleep(0.05)
            child.send(signal.SIGKILL)
            if child.process is not None:
                child.process.wait()
        self._undo.close()


def _layerprune(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "layerprune.cli", *arguments]


def _read_token(data: Path) -> str:
    return (data / "admin-token").read_text().strip()


def _cause(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
