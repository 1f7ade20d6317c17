"""The kinds of task a worker can run: a table of strings, so that reading it imports no runtime."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from layerprune.api.catalogue import Role


@dataclass(frozen=True)
class Kind:
    """Where a kind's function and its types live, each as `module:name`.

    `run(payload, *, folder, report, checkpoint)` returns the result. The role decides how it is run: build tasks are
    forked from a process that has imported torch, and share the host; measure tasks start fresh and have it alone.
    """

    run: str
    payload: str
    result: str
    role: Role


KINDS: dict[str, Kind] = {
    "score": Kind(
        "workers.tasks.score:run", "layerprune.api.tasks:ScorePayload", "layerprune.api.tasks:ScoreResult", "build"
    ),
    "search": Kind(
        "workers.tasks.search:run", "layerprune.api.tasks:SearchPayload", "layerprune.api.tasks:SearchResult", "build"
    ),
    "trial": Kind(
        "workers.tasks.trial:run", "layerprune.api.tasks:TrialPayload", "layerprune.api.tasks:TrialResult", "build"
    ),
    "build": Kind(
        "workers.tasks.build:run", "layerprune.api.tasks:BuildPayload", "layerprune.api.tasks:BuildResult", "build"
    ),
    "sweep": Kind(
        "workers.tasks.sweep:run", "layerprune.api.tasks:SweepPayload", "layerprune.api.tasks:SweepResult", "measure"
    ),
    "measure": Kind(
        "workers.tasks.measure:run",
        "layerprune.api.tasks:MeasurePayload",
        "layerprune.api.tasks:MeasureResult",
        "measure",
    ),
}


BUILD_MODULES = tuple(sorted({kind.run.partition(":")[0] for kind in KINDS.values() if kind.role == "build"}))
"""What a process must have imported to start builds quickly."""


def load(reference: str) -> Any:
    """Import `module:name` and return what it names."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)
