"""Time untrained architectures against the base, quickly.

Weights hardly change latency, so what is worth training is found out before anything is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from layerprune.api.jobs import Progress
from layerprune.api.tasks import SweepPayload, SweepResult
from workers.harness.loop import Plan

from .timing import Budget, Timer

BUDGET = Budget(
    processes=1,
    plan=Plan(cycles=6, block_ms=15.0, warmup_min_s=0.3, warmup_later_min_s=0.1, warmup_min_runs=10, warmup_cap_s=0.5),
)
"""Enough to select candidates to within a few percent; what is ranked is measured again, by `measure`."""


def run(
    payload: SweepPayload, *, folder: Path, report: Callable[[Progress], None], checkpoint: Callable[[], None]
) -> SweepResult:
    """Time every architecture interleaved with the base; inputs lie in `folder`/inputs by digest."""
    inputs = folder / "inputs"
    timer = Timer(
        condition=payload.condition,
        shape=payload.input_shape,
        budget=BUDGET,
        seed=payload.seed,
        folder=folder,
        report=report,
        checkpoint=checkpoint,
    )
    networks = {name: inputs / digest for name, digest in payload.architectures.items()}
    timed = timer.run(inputs / payload.base, networks)
    return SweepResult(groups=timed.groups, conditions=timed.conditions, seconds=timed.seconds)
