"""A process of its own for looking at a file that may be hostile: little memory and time, no file written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from layerprune.api.wire import Wire


class Refused(Exception):
    """The file is not accepted; the text says why."""


class Limits(Wire):
    """What the process may use."""

    seconds: int = 60
    memory_bytes: int


def look(module: str, limits: Limits, *, arguments: Sequence[str] = (), data: bytes = b"") -> dict[str, Any]:
    """Run a module as `python -m MODULE LIMITS ARGUMENTS...` and return the JSON that it prints. Raises Refused.

    It must call `confine` first and print one line, `{"refused": WHY}` for a file that it does not accept.
    """
    paths = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, limits.model_dump_json(), *arguments],
            input=data,
            capture_output=True,
            timeout=limits.seconds,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": paths},
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"looking at it took more than {limits.seconds} s") from error
    lines = done.stdout.decode(errors="replace").splitlines()
    if done.returncode != 0 or not lines:
        raise Refused("looking at it ended the process that did: it is broken or far too large")
    answer: dict[str, Any] = json.loads(lines[-1])
    if "refused" in answer:
        raise Refused(answer["refused"])
    return answer


def confine(limits: Limits) -> None:
    """Hold this process to the limits from now on; it can no longer write files or leave a core."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
