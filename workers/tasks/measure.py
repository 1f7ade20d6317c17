"""Time the base, the base again and the trained variants by protocol `ss-1`, and evaluate the very sessions timed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from layerprune.api import jobs
from layerprune.api.jobs import Progress
from layerprune.api.tasks import MeasurePayload, MeasureResult, SessionAccuracy
from workers.harness.loop import Plan

from .timing import BASE, Budget, Evaluation, Timer

# One process has only its cycles to estimate an interval from: more and shorter ones make it tighter in the same time.
BUDGETS: dict[jobs.Budget, Budget] = {
    "quick": Budget(processes=1, plan=Plan(cycles=16, block_ms=20.0, warmup_later_min_s=0.3, warmup_cap_s=5.0)),
    "standard": Budget(processes=5, plan=Plan(cycles=10, block_ms=50.0)),
    "thorough": Budget(processes=8, plan=Plan(cycles=12, block_ms=50.0)),
}


def run(
    payload: MeasurePayload, *, folder: Path, report: Callable[[Progress], None], checkpoint: Callable[[], None]
) -> MeasureResult:
    """Measure in groups of at most eight sessions; inputs lie in `folder`/inputs by digest."""
    inputs = folder / "inputs"
    networks = {BASE: payload.base, **{variant.variant: variant for variant in payload.variants}}
    size = payload.preprocess.size
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
            preprocess=payload.preprocess.model_dump(include={"channels", "mean", "std"}),
            references={name: inputs / network.reference_outputs for name, network in networks.items()},
        ),
    )
    variants = {variant.variant: inputs / variant.onnx for variant in payload.variants}
    timed = timer.run(inputs / payload.base.onnx, variants)
    return MeasureResult(
        groups=timed.groups,
        accuracies=[SessionAccuracy(session=name, **timed.accuracies[name]) for name in networks],
        conditions=timed.conditions,
        seconds=timed.seconds,
    )
