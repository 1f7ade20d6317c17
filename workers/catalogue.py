"""Find out what this machine offers: networks, data sets and criteria to build with, runtimes to measure with.

The agent imports neither torch nor a runtime: children look, and say what they found.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerprune.api.catalogue import BackendInfo, Catalogue
from layerprune.api.errors import BadInput, LayerPruneError
from layerprune.api.jobs import Progress
from layerprune.api.wire import Wire
from layerprune.roots import data_roots

from . import interpreter
from .conversion import can_convert
from .harness.backends import PROGRAMS
from .kinds import Kind, load

LISTS = {
    "models": "layerprune.models:list_models",
    "datasets": "layerprune.data:list_datasets",
    "criteria": "layerprune.criteria:list_criteria",
}
ONNX_IMPORTER = "onnx"
"""With this package, uploaded ONNX files can be made trainable."""
NULL = "null"
LIBRARY_S = 3600.0
"""Importing takes seconds, but it waits while another worker of the host measures."""
DESCRIBE_S = 120.0
"""Importing every runtime of a slow board, and a margin."""


class Nothing(Wire):
    """A payload without content."""


LIBRARY = Kind("workers.catalogue:run", "workers.catalogue:Nothing", "layerprune.api.catalogue:Catalogue", "build")
"""Run in a build child, which has imported the library already."""


@dataclass(frozen=True)
class Machine:
    """The runtimes that can be timed here, why the others cannot, and facts about the hardware."""

    backends: list[BackendInfo]
    facts: dict[str, Any]
    missing: dict[str, str] = field(default_factory=dict)


def run(
    payload: Nothing,  # noqa: ARG001
    *,
    folder: Path,  # noqa: ARG001
    report: Callable[[Progress], None],  # noqa: ARG001
    checkpoint: Callable[[], None],  # noqa: ARG001
) -> Catalogue:
    """List what the installed library can build."""
    lists = {name: load(function)() for name, function in LISTS.items()}
    return Catalogue.model_validate(
        {
            **lists,
            "data_roots": [str(root) for root in data_roots()],
            "imports_onnx": importlib.util.find_spec(ONNX_IMPORTER) is not None,
        }
    )


def check_build_packages() -> None:
    """Raise BadInput if this environment cannot build."""
    if importlib.util.find_spec("torch") is None:
        raise BadInput(
            "a worker with the role 'build' needs torch, which is not installed here",
            field="roles",
            value="build",
            remedy="Install layerprune[build], or start the worker with --roles measure.",
        )


def describe_machine(*, allow_null: bool, python: str | None = None) -> Machine:
    """Ask the harness, in a process of its own, for runtimes and hardware; the null runtime only if it is allowed.

    `python` is the interpreter that measures, if it is not this one. Raises BadInput if it cannot, or has no runtime.
    """
    python = python or interpreter.chosen()
    if python != sys.executable:
        interpreter.check(python)
    done = subprocess.run(
        interpreter.command(python),
        input=json.dumps({"describe": True, "parent": os.getpid()}),
        capture_output=True,
        text=True,
        timeout=DESCRIBE_S,
        env=interpreter.environment(),
        check=False,
    )
    lines = done.stdout.splitlines()
    found = json.loads(lines[-1]) if lines else {}
    if done.returncode != 0 or found.get("event") != "result":
        raise LayerPruneError(
            f"the measuring harness does not start: {done.stderr[-2000:] or done.stdout[-2000:]}",
            code="crashed",
            remedy="Check the Python environment of the worker.",
        )
    backends = [
        BackendInfo.model_validate(backend)
        for backend in found["backends"]
        if (allow_null or backend["name"] != NULL) and (can_convert() or backend["name"] not in PROGRAMS)
    ]
    if not backends:
        raise BadInput(
            f"{python} has no runtime that could be measured",
            field="python",
            value=python,
            remedy=f"Install one there, for instance: {python} -m pip install onnxruntime",
        )
    return Machine(backends, found["facts"], found["missing"])
