"""The agent's side of its children: start one for a task, kill it with all that it started, wait for its end."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Protocol

from layerprune.api.errors import LayerPruneError

from .child import LOG
from .kinds import BUILD_MODULES
from .lifeline import kill_group

PACKAGES = Path(__file__).resolve().parent.parent
SHORT_SPIN = {"GOMP_SPINCOUNT": "1000"}
"""Build children soon sleep at OpenMP's barriers instead of spinning on: beside busy processes a training step then
takes a few times as long as alone, not a hundred times; on a quiet machine it is as fast. Set before torch is imported,
or it has no effect."""


class Child(Protocol):
    """A running child and everything that it has started.

    The process id stays taken until `finish`, so that a kill never hits a stranger.
    """

    def kill(self) -> None:
        """Kill the whole process group at once."""

    def finish(self) -> int:
        """Wait for the end, which must be near, and return the exit status: negative for a signal."""


def start_fresh(folder: Path, channel: int, environment: Mapping[str, str] = MappingProxyType({})) -> Child:
    """Start a new interpreter for the task in the folder; `channel` is where it writes its messages."""
    with (folder / LOG).open("ab") as log:
        arguments = [str(folder), str(os.getpid()), str(channel)]
        return _Fresh(_start("workers.child", arguments, channel, log, environment))


class _Fresh:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def kill(self) -> None:
        kill_group(self._process.pid)

    def finish(self) -> int:
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        self.kill()
        return self._process.wait()


class Zygote:
    """The pre-imported parent of build children (`workers.zygote`): started when needed, stopped while measuring."""

    def __init__(
        self,
        folder: Path,
        lock_folder: Path,
        *,
        modules: Sequence[str] = BUILD_MODULES,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._modules = modules
        self._environment = {**SHORT_SPIN, **environment}
        self._log = folder / "zygote.log"
        self._lock_folder = lock_folder
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def ensure(self) -> None:
        """Start it unless it runs; returns at once, it imports in the meantime."""
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        self._socket, theirs = socket.socketpair()
        with theirs, self._log.open("wb") as log:
            arguments = [str(os.getpid()), str(theirs.fileno()), str(self._lock_folder), *self._modules]
            self._process = _start("workers.zygote", arguments, theirs.fileno(), log, self._environment)

    def stop(self) -> None:
        """Kill it; a child that it has dies with it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def start_child(self, folder: Path, channel: int) -> Child:
        """Have it fork a child for the task in the folder, once it has imported."""
        self.ensure()
        assert self._socket is not None
        try:
            socket.send_fds(self._socket, [json.dumps({"folder": str(folder)}).encode()], [channel])
        except OSError as error:
            raise self.broken() from error
        return _Forked(self, self._socket)

    def broken(self) -> LayerPruneError:
        """Clean up after it has ended by itself, and say why."""
        status = self._process.wait() if self._process else 0
        self.stop()
        last_words = self._log.read_text(errors="replace")[-4000:].strip()
        return LayerPruneError(
            f"the process that starts builds has ended with status {status}: {last_words or 'no message'}",
            code="oom" if status == -signal.SIGKILL else "crashed",
            remedy="Check that the worker has the packages of layerprune[build], and memory enough.",
        )


class _Forked:
    def __init__(self, zygote: Zygote, connection: socket.socket) -> None:
        self._zygote = zygote
        self._socket = connection
        self._answers: BinaryIO = connection.makefile("rb")
        self._pid: int | None = None
        self._killed = False

    def kill(self) -> None:
        self._killed = True
        if self._pid is None and select.select([self._socket], [], [], 0)[0]:
            self._pid = self._answer().get("pid")
        if self._pid is None:
            # It imports still, or is broken: then there is no child yet and shall be none.
            self._zygote.stop()
        else:
            kill_group(self._pid)

    def finish(self) -> int:
        status: int | None = None
        with self._answers:
            while status is None:
                answer = self._answer()
                if not answer:
                    if self._killed:
                        return -signal.SIGKILL
                    raise self._zygote.broken()
                status = answer.get("status")
        self._socket.sendall(b".")
        return status

    def _answer(self) -> dict[str, int]:
        try:
            line = self._answers.readline()
        except (OSError, ValueError):
            return {}
        answer: dict[str, int] = json.loads(line or b"{}")
        return answer


def _start(
    module: str,
    arguments: list[str],
    descriptor: int,
    log: BinaryIO,
    defaults: Mapping[str, str] = MappingProxyType({}),
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env={**defaults, **clean_environment()},
        pass_fds=(descriptor,),
        start_new_session=True,
    )


def clean_environment() -> dict[str, str]:
    """Return the environment without our own settings, tokens above all, and with our packages importable."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAYERPRUNE_")}
    paths = [str(PACKAGES), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}
