"""Time the base, the base again and the trained variants by protocol `ss-1`, and evaluate the very sessions timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from layerprune.api import jobs
from layerprune.api.jobs import Progress
from layerprune.api.tasks import MeasurePayload, MeasureResult, SessionAccuracy
from workers.harness.loop import Plan

from .timing import BASE, Budget, Evaluation, Pack, Timer
from .why import explain_slow

BATCHES = (1, 4, 16)
"""The sizes at which images per second are measured, whatever the batch of the latency is."""
# One process has only its cycles to estimate an interval from: more and shorter ones make it tighter in the same time.
BUDGETS: dict[jobs.Budget, Budget] = {
    "quick": Budget(processes=1, plan=Plan(cycles=16, block_ms=20.0, warmup_later_min_s=0.3, warmup_cap_s=5.0)),
    "standard": Budget(
        processes=5, further=(8, 12, 16), plan=Plan(cycles=10, block_ms=50.0), batches=BATCHES, energy_s=1.0
    ),
    "thorough": Budget(
        processes=8, further=(12, 16), plan=Plan(cycles=12, block_ms=50.0), batches=BATCHES, energy_s=2.0
    ),
}


def run(
    payload: MeasurePayload, *, folder: Path, report: Callable[[Progress], None], checkpoint: Callable[[], None]
) -> MeasureResult:
    """Measure in groups of at most eight sessions; inputs lie in `folder`/inputs by digest."""
    inputs = folder / "inputs"
    networks = {BASE: payload.base, **{variant.variant: variant for variant in payload.variants}}
    size, calibration = payload.preprocess.size, payload.calibration_pack
    preprocess = payload.preprocess.model_dump(include={"channels", "mean", "std"})
    timer = Timer(
        condition=payload.condition,
        shape=(payload.preprocess.channels, size, size),
        budget=BUDGETS[payload.condition.budget],
        seed=payload.seed,
        folder=folder,
        report=report,
        checkpoint=checkpoint,
        evaluation=Evaluation(
            pack=inputs / payload.evaluation_pack,
            preprocess=preprocess,
            references={name: inputs / network.reference_outputs for name, network in networks.items()},
        ),
        calibration=None if calibration is None else Pack(inputs / calibration, preprocess),
    )
    variants = {variant.variant: inputs / variant.onnx for variant in payload.variants}
    timed = timer.run(inputs / payload.base.onnx, variants)
    started = time.monotonic()
    explanations = explain_slow(payload, timed.groups, folder=folder, report=report)
    seconds = {**timed.seconds, "explaining": round(time.monotonic() - started, 3)}
    return MeasureResult(
        groups=timed.groups,
        accuracies=[SessionAccuracy(session=name, **timed.accuracies[name]) for name in networks],
        conditions=timed.conditions,
        explanations=explanations,
        seconds=seconds,
    )
