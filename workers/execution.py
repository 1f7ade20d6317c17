"""Run one function in a child with a deadline, and say what came of it."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerprune.api.jobs import Progress
from layerprune.api.wire import Wire

from .child import FAILURE, LOG, RESULT, SPEC, TaskFailure, TaskSpec
from .children import Child, Zygote, start_fresh
from .kinds import Kind, load
from .lease import Lease
from .stopping import Stop

LOG_TAIL_BYTES = 8000


@dataclass(frozen=True)
class Executor:
    """Starts children: builds from the zygote, measurements fresh, with the zygote out of their way."""

    zygote: Zygote
    lock_folder: Path
    stop: Stop
    measure_environment: Mapping[str, str] = field(default_factory=dict)

    def execute(
        self,
        kind: Kind,
        payload: dict[str, Any],
        folder: Path,
        *,
        deadline_s: float,
        lease: Lease | None = None,
        on_progress: Callable[[], None] | None = None,
    ) -> Wire | TaskFailure:
        """Run the kind's function in the folder; kill it when the lease, the time or the worker ends.

        `on_progress` is called, and must not block, whenever the child has said what it does.
        """
        spec = TaskSpec(
            run=kind.run, payload_type=kind.payload, payload=payload, role=kind.role, lock_folder=str(self.lock_folder)
        )
        (folder / SPEC).write_text(spec.model_dump_json(), encoding="utf-8")
        reader, writer = os.pipe()
        with open(reader, "rb", buffering=0) as messages:
            try:
                if kind.role == "build":
                    child = self.zygote.start_child(folder, writer)
                else:
                    self.zygote.stop()
                    child = start_fresh(folder, writer, self.measure_environment)
            finally:
                os.close(writer)
            watch = _Watch(child, self.stop, lease, on_progress, left_s=deadline_s, deadline_s=deadline_s)
            killed = watch.until_end(messages.fileno())
            status = child.finish()
        if (folder / RESULT).exists():
            result: Wire = load(kind.result).model_validate_json((folder / RESULT).read_bytes())
            return result
        if killed is not None:
            return killed
        if (folder / FAILURE).exists():
            return TaskFailure.model_validate_json((folder / FAILURE).read_bytes())
        return _crash(status, folder / LOG)


@dataclass
class _Watch:
    """Reads a child's messages and kills it when its time is up; the clock stands while it waits for the machine."""

    child: Child
    stop: Stop
    lease: Lease | None
    on_progress: Callable[[], None] | None
    left_s: float
    deadline_s: float
    waiting: bool = False
    phase: str = ""
    unread: bytes = field(default=b"", repr=False)

    def until_end(self, messages: int) -> TaskFailure | None:
        """Return once the child has closed its pipe; says why it was killed, if it was."""
        killed: TaskFailure | None = None
        while True:
            started = time.monotonic()
            ready, _, _ = select.select([messages, *(self._ends() if killed is None else [])], [], [], self._patience())
            if not self.waiting:
                self.left_s -= time.monotonic() - started
            if messages in ready:
                piece = os.read(messages, 65536)
                if not piece:
                    return killed
                self._read(piece)
            if killed is None and (killed := self._verdict()) is not None:
                self.child.kill()

    def _ends(self) -> list[Stop | Lease]:
        return [self.stop] if self.lease is None else [self.stop, self.lease]

    def _patience(self) -> float:
        limits = [60.0 if self.waiting else self.left_s]
        if self.lease is not None:
            limits.append(self.lease.seconds_left())
        # After a kill the limits lie in the past; the end of the pipe is near then.
        return max(0.05, min(limits))

    def _verdict(self) -> TaskFailure | None:
        if self.stop.requested:
            return stopped_by_request()
        if self.lease is not None:
            if self.lease.seconds_left() <= 0:
                self.lease.end("lost")
            if self.lease.ended is not None:
                return TaskFailure(reason="lease_expired", message=f"the lease was {self.lease.ended}")
        if self.left_s <= 0:
            during = f" (last seen: {self.phase})" if self.phase else ""
            return TaskFailure(reason="timeout", message=f"not done within {self.deadline_s:.0f} s{during}")
        return None

    def _read(self, piece: bytes) -> None:
        *lines, self.unread = (self.unread + piece).split(b"\n")
        for line in lines:
            message = json.loads(line)
            self.waiting = message.get("waiting", self.waiting)
            if "progress" in message:
                self._tell(Progress.model_validate(message["progress"]))
            elif self.waiting:
                self._tell(Progress(phase="waiting", message="another task has the machine"))

    def _tell(self, progress: Progress) -> None:
        self.phase = progress.phase
        if self.lease is not None:
            self.lease.tell(progress)
        if self.on_progress is not None:
            self.on_progress()


def stopped_by_request() -> TaskFailure:
    """The failure of a worker that is told to stop: a reason with which the task is queued again at once."""
    return TaskFailure(reason="given_back", message="the worker was stopped and gave its lease back")


def _crash(status: int, log: Path) -> TaskFailure:
    """Describe a child that ended without a word."""
    tail = log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip() if log.exists() else ""
    said = f"; its last words:\n{tail}" if tail else ""
    if status == -signal.SIGKILL:
        return TaskFailure(
            reason="oom", message=f"killed from outside (SIGKILL), most likely because memory ran out{said}"
        )
    if status < 0:
        return TaskFailure(reason="crashed", message=f"crashed by {signal.Signals(-status).name}{said}")
    return TaskFailure(reason="crashed", message=f"ended with status {status} and no result{said}")
