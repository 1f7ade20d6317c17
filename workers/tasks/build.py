"""Apply one plan to the base, fine-tune, evaluate and export: a variant."""

from __future__ import annotations

import copy
from pathlib import Path

from layerprune.api.errors import BadInput
from layerprune.api.jobs import Progress
from layerprune.api.tasks import Accuracies, BuildPayload, BuildResult
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace
from layerprune.train import reestimate_batch_norm_, statistics_batches, train_

from .network import (
    Checkpoint,
    Report,
    Stopwatch,
    judge,
    load_material,
    load_weights_,
    make_model,
    scaled,
    write_network,
)


def run(payload: BuildPayload, *, folder: Path, report: Report, checkpoint: Checkpoint) -> BuildResult:
    """Build the variant, whatever its family; the base's weights lie in `folder`/inputs by digest."""
    stopwatch = Stopwatch()
    checkpoint = stopwatch.excluding(checkpoint)
    report(Progress(phase="preparing", message="loading the base", fraction=0.0))
    with stopwatch.phase("preparing"):
        material = load_material(payload.model, payload.dataset)
        base = make_model(payload.model, material, seed=payload.seed)
        load_weights_(base, folder / "inputs" / payload.base_weights)
        # The graph shares its modules with the network it was traced from, so the teacher must be a copy.
        teacher = copy.deepcopy(base) if payload.training.distillation > 0 else None
        graph = trace(base, material.example)
        plan = Plan.from_dict(payload.plan)
        if plan.hash != payload.plan_hash:
            raise BadInput(
                f"the plan's hash is {plan.hash}, the task says {payload.plan_hash}",
                field="plan_hash",
                value=payload.plan_hash,
                remedy="Send the plan as the scoring task wrote it.",
            )
        apply_plan_(graph, plan, material.example)
    with stopwatch.phase("evaluating"):
        after_surgery = judge(graph, material)
    checkpoint()
    with stopwatch.phase("training"):
        images, _ = material.train
        seed, batch_size = payload.training_seed, payload.training.batch_size
        reestimate_batch_norm_(graph, statistics_batches(images, batch_size=batch_size, seed=seed))
    with stopwatch.phase("evaluating"):
        after_reestimation = judge(graph, material)
    with stopwatch.phase("training"):
        curve = train_(
            graph,
            material.train,
            payload.training,
            epochs=payload.training.epochs,
            seed=payload.training_seed,
            validation=material.validation,
            teacher=teacher,
            phase="fine-tuning",
            on_progress=scaled(report, 0.05, 0.95),
            checkpoint=checkpoint,
        )
    report(Progress(phase="exporting", message="writing and checking ONNX", fraction=0.95))
    with stopwatch.phase("evaluating"):
        final = judge(graph, material)
    validation, test = (
        Accuracies(after_surgery=after_surgery[i], after_reestimation=after_reestimation[i], final=final[i])
        for i in range(2)
    )
    network = write_network(
        graph,
        plan,
        material,
        folder=folder,
        name="variant",
        validation=validation,
        test=test,
        curve=curve,
        stopwatch=stopwatch,
    )
    return BuildResult(network=network)
