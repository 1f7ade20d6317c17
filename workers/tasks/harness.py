"""Start the measuring process and wait for it: the parent blocks on a pipe and does nothing else meanwhile."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from layerprune.api.errors import BadInput, LayerPruneError
from workers import interpreter
from workers.conversion import files_for
from workers.harness.backends import PROGRAMS

START_S = 60.0
"""Importing a runtime on a slow board takes this long at most; also the margin on every later step."""
PATIENCE = 5.0
"""A step may take this many times as long as the measuring process expects."""

Event = dict[str, Any]


def run_harness(
    request: Event,
    *,
    log: Path,
    on_progress: Callable[[Event], None] = lambda _: None,
    python: str | None = None,
) -> Event:
    """Run one measuring process to its end and return its result; what it prints goes into `log`.

    `python` may be another interpreter, from 3.8 on, that has numpy and the runtime; without it, it is the one that
    the worker was told to use. For a runtime that reads no ONNX, the networks are converted beforehand.
    Raises BadInput for what the caller can mend, and LayerPruneError with code `parse_rejected`, `oom`, `timeout` or
    `crashed`.
    """
    request = _readable(request, on_progress)
    with log.open("wb") as errors:
        process = subprocess.Popen(
            interpreter.command(python or interpreter.chosen()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=interpreter.environment(),
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with process.stdin as pipe:
            pipe.write(json.dumps({**request, "parent": os.getpid()}).encode())
        last: Event = {}
        for last in _events(process.stdout.fileno()):
            if last["event"] == "progress":
                on_progress(last)
        process.wait(timeout=START_S)
    except BrokenPipeError:
        last = {}
        process.wait(timeout=START_S)
    finally:
        # Also on the way out of an exception, such as a cancelled task.
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
    if last.get("event") == "result":
        return last
    if last.get("event") == "error":
        raise _told(last)
    raise _died(process.returncode, log)


def _readable(request: Event, on_progress: Callable[[Event], None]) -> Event:
    """The request with files that its runtime reads; what is made lies beside the folder of this process."""
    if request.get("backend") not in PROGRAMS or "networks" not in request:
        return request
    on_progress({"event": "progress", "phase": "converting"})
    networks = {name: Path(path) for name, path in request["networks"].items()}
    made = Path(request["folder"]).parent / "programs"
    files = files_for(request["backend"], networks, shape=request["shape"][1:], folder=made)
    return {**request, "networks": {name: str(path) for name, path in files.items()}}


def _events(channel: int) -> Iterator[Event]:
    """Yield the lines of the measuring process; each must follow the one before within the time that one promised."""
    poll, unread = select.poll(), b""
    poll.register(channel, select.POLLIN | select.POLLHUP)
    deadline = time.monotonic() + START_S
    while True:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise LayerPruneError(
                "the measuring process did not get on in time and was stopped",
                code="timeout",
                remedy="Check that the device is not overloaded; a network this slow needs a smaller budget.",
            )
        chunk = os.read(channel, 65536)
        if not chunk:
            return
        *lines, unread = (unread + chunk).split(b"\n")
        for line in lines:
            event: Event = json.loads(line)
            deadline = time.monotonic() + START_S + PATIENCE * float(event.get("expect_s", 0.0))
            yield event


def _told(event: Event) -> LayerPruneError:
    kind = BadInput if event["code"] == "bad_input" else LayerPruneError
    return kind(event["message"], code=event["code"], value=event["value"], remedy=event["remedy"])


def _died(returncode: int, log: Path) -> LayerPruneError:
    tail = log.read_text(errors="replace")[-2000:].strip()
    if returncode == -signal.SIGKILL:
        return LayerPruneError(
            "the measuring process was killed by the system, most likely because memory ran out",
            code="oom",
            remedy="Measure on a device with more memory, or ask for smaller batches.",
        )
    how = f"by {signal.Signals(-returncode).name}" if returncode < 0 else f"with exit code {returncode}"
    return LayerPruneError(
        f"the measuring process ended {how}: {tail or 'it printed nothing'}",
        code="crashed",
        value=returncode,
        remedy="Run the network in its runtime by hand on this device; the message is the end of what was printed.",
    )
