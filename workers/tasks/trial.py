"""Judge plans before their training is paid for."""

from __future__ import annotations

import copy
from pathlib import Path

from torch import nn

from layerprune import models
from layerprune.api.errors import BadInput
from layerprune.api.jobs import Progress
from layerprune.api.tasks import TrialPayload, TrialPlan, TrialResult
from layerprune.api.wire import Proportion
from layerprune.data.material import Material
from layerprune.evaluate import evaluate
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace
from layerprune.training.group import ALONE
from layerprune.training.loop import train_
from layerprune.training.norms import reestimate_batch_norm_, statistics_batches
from layerprune.training.precision import handed_on
from layerprune.training.recipe import make_recipe

from .base import make_model, material_of
from .network import Checkpoint, Report, Stopwatch


def run(payload: TrialPayload, *, folder: Path, report: Report, checkpoint: Checkpoint) -> TrialResult:
    """Give each plan's validation accuracy, after re-estimation of the batch-norm statistics and `epochs` of training.

    The base is loaded once; a plan that cannot be applied ends the task, as it would end its build.
    """
    stopwatch = Stopwatch()
    checkpoint = stopwatch.excluding(checkpoint)
    report(Progress(phase="preparing", message="loading the base", fraction=0.0))
    with stopwatch.phase("preparing"):
        material = material_of(payload.model, payload.dataset, folder=folder)
        base, _ = make_model(payload.model, material, seed=payload.seed, folder=folder, weights=payload.base_weights)
    accuracies: dict[str, Proportion] = {}
    for number, wanted in enumerate(payload.plans):
        checkpoint()
        message = f"plan {number + 1} of {len(payload.plans)}"
        report(Progress(phase="trying", message=message, fraction=number / len(payload.plans)))
        with stopwatch.phase("trying"):
            accuracies[wanted.plan_hash] = _try(
                payload, wanted, base=copy.deepcopy(base), material=material, checkpoint=checkpoint
            )
    return TrialResult(accuracies=accuracies, seconds=stopwatch.seconds)


def _try(
    payload: TrialPayload, wanted: TrialPlan, *, base: nn.Module, material: Material, checkpoint: Checkpoint
) -> Proportion:
    plan = Plan.from_dict(wanted.plan)
    if plan.hash != wanted.plan_hash:
        raise BadInput(
            f"the plan's hash is {plan.hash}, the task says {wanted.plan_hash}",
            field="plan_hash",
            value=wanted.plan_hash,
            remedy="Send the plan as the scoring task wrote it.",
        )
    # The graph shares its modules with the network it was traced from.
    teacher = copy.deepcopy(base).to(ALONE.device) if payload.training.distillation > 0 and payload.epochs else None
    graph = apply_plan_(trace(base, material.example), plan, material.example).to(ALONE.device)
    batches = statistics_batches(
        material.train, batch_size=payload.training.batch_size, seed=payload.seed, device=ALONE.device
    )
    reestimate_batch_norm_(graph, batches)
    if payload.epochs:
        recipe = make_recipe(
            graph,
            payload.training,
            origin=models.origin(payload.model),
            flip=material.dataset.flip,
            precision=handed_on(payload.recipe, ALONE.device),
        )
        train_(
            graph,
            material.train,
            recipe,
            epochs=payload.epochs,
            seed=payload.seed,
            validation=material.validation,
            teacher=teacher,
            checkpoint=checkpoint,
        )
    return evaluate(graph, material.validation)[0]
