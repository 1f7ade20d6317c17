"""The process that runs one task, apart from the agent: it may crash, grow or hang without taking the worker along.

It is started with the task's folder, its parent's process id and the descriptor of a pipe. Into the pipe it writes JSON
lines, `{"progress": ...}` and `{"waiting": true}`; what it leaves in the folder is `result.json` or `failure.json`.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from layerprune.api.catalogue import Role
from layerprune.api.errors import BadInput, LayerPruneError
from layerprune.api.jobs import Progress, Reason
from layerprune.api.wire import Wire

from .hostlock import HostLock
from .kinds import load
from .lifeline import die_with

SPEC, RESULT, FAILURE, LOG = "spec.json", "result.json", "failure.json", "log.txt"
CHECKPOINT = "checkpoint.safetensors"
"""Where a training leaves its state, whole or not at all; the agent uploads it while the task goes on."""

REASONS: tuple[str, ...] = get_args(Reason)


class TaskSpec(Wire):
    """What a child needs to know; written into the task's folder by the agent. Holds no token."""

    run: str
    payload_type: str
    payload: dict[str, Any]
    role: Role
    lock_folder: str


class TaskFailure(Wire):
    """Why a task has no result."""

    reason: Reason
    message: str


def run_task(folder: Path, channel: int) -> None:
    """Run the task that the folder's spec describes, and leave its result or its failure there."""
    os.set_inheritable(channel, False)
    os.chdir(folder)

    def send(**message: Any) -> None:
        os.write(channel, json.dumps(message).encode() + b"\n")

    def report(progress: Progress) -> None:
        send(progress=progress.model_dump(exclude_defaults=True))

    try:
        result = _run(TaskSpec.model_validate_json((folder / SPEC).read_bytes()), folder, report, send)
        _write(folder / RESULT, result)
    # One of the outer boundaries: whatever a task raises becomes a failure with a closed reason.
    except Exception as error:
        traceback.print_exc()
        _write(folder / FAILURE, failure_of(error))


def _run(spec: TaskSpec, folder: Path, report: Callable[[Progress], None], send: Callable[..., None]) -> Wire:
    lock = HostLock(Path(spec.lock_folder), on_wait=lambda waiting: send(waiting=waiting))
    with lock.building() if spec.role == "build" else lock.measuring() as checkpoint:
        payload = load(spec.payload_type).model_validate(spec.payload)
        result: Wire = load(spec.run)(payload, folder=folder, report=report, checkpoint=checkpoint)
        return result


def _write(path: Path, content: Wire) -> None:
    # Written beside and renamed, so that a file which is there is whole.
    part = path.with_suffix(".part")
    part.write_text(content.model_dump_json(), encoding="utf-8")
    part.replace(path)


def failure_of(error: BaseException) -> TaskFailure:
    """Translate an exception into one of the closed reasons."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, LayerPruneError):
        fallback = "bad_input" if isinstance(error, BadInput) else "build_failed"
        reason = error.code if error.code in REASONS else fallback
        return TaskFailure.model_validate({"reason": reason, "message": error.told[:20_000]})
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text:
        return TaskFailure(reason="disk_full", message=f"the worker's disk is full: {text}"[:20_000])
    if isinstance(error, MemoryError) or _tells_of_memory(text):
        return TaskFailure(reason="oom", message=f"the worker ran out of memory: {text}"[:20_000])
    lines = "".join(traceback.format_exception(error))
    return TaskFailure(reason="build_failed", message=lines[-20_000:])


def _tells_of_memory(text: str) -> bool:
    # Runtimes have no class of their own for it: torch raises RuntimeError with these words.
    lowered = text.lower()
    return any(words in lowered for words in ("out of memory", "can't allocate memory", "cannot allocate memory"))


def main() -> None:
    folder, parent, channel = sys.argv[1:]
    die_with(int(parent))
    run_task(Path(folder), int(channel))


if __name__ == "__main__":
    main()
