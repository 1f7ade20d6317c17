"""Make the base, score its layers and filters, and write the plans that could be built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import fx, nn

from layerprune.api.errors import BadInput
from layerprune.api.jobs import Progress
from layerprune.api.tasks import (
    Accuracies,
    Architecture,
    LayerInfo,
    ScorePayload,
    ScoreResult,
    TrainedNetwork,
)
from layerprune.candidates import CandidateSet, enumerate_candidates
from layerprune.criteria.base import ScoringContext
from layerprune.criteria.observation import Scores, score_all
from layerprune.export import export_onnx
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.layers import Layer, find_layers
from layerprune.structure.plan import Plan
from layerprune.structure.trace import trace
from layerprune.train import train_

from .network import (
    Checkpoint,
    Material,
    Report,
    Stopwatch,
    judge,
    load_material,
    make_model,
    scaled,
    write_evaluation_pack,
    write_network,
)

_ACCURACY_SLACK = 0.005
_SCORING_BATCH = 64


def run(payload: ScorePayload, *, folder: Path, report: Report, checkpoint: Checkpoint) -> ScoreResult:
    """Train the base, score it on the calibration split, enumerate the candidates and export what a sweep needs."""
    stopwatch = Stopwatch()
    checkpoint = stopwatch.excluding(checkpoint)
    report(Progress(phase="preparing", message="loading the data set", fraction=0.0))
    with stopwatch.phase("preparing"):
        material = load_material(payload.model, payload.dataset)
        model = make_model(payload.model, material, seed=payload.seed)
        # Before the training, which would be in vain if the network cannot be traced.
        trace(model, material.example)
    base, graph = _train_base(payload, model, material, folder, scaled(report, 0.0, 0.75), checkpoint, stopwatch)

    report(Progress(phase="scoring", message=f"by {', '.join(payload.pruning.criteria)}", fraction=0.75))
    with stopwatch.phase("scoring"):
        layers = [layer for layer in find_layers(graph) if layer.default]
        scores = _score(payload, graph, layers, material, checkpoint)
        found = enumerate_candidates(graph, material.example, scores.layers, scores.filters, payload.pruning)
    if not found.candidates:
        why = "; ".join([*(f"{r.family}: {r.stopped_by}" for r in found.reach), *found.notes])
        raise BadInput(
            f"nothing can be pruned from {payload.model.name}: {why or 'it has no removable layer'}",
            field="model.name",
            value=payload.model.name,
            code="target_unreachable",
            remedy="Use another network, or ask for other methods or alignments.",
        )
    with stopwatch.phase("exporting"):
        architectures = _export(found, material, folder, scaled(report, 0.8, 1.0), checkpoint)
        images = write_evaluation_pack(folder / "evaluation.pack", material)
    return ScoreResult(
        base=base,
        evaluation_pack="evaluation.pack",
        evaluation_images=images,
        dataset_fingerprint=material.dataset.fingerprint,
        layers=[
            LayerInfo(
                name=layer.name,
                kind=layer.kind,
                params=layer.params,
                macs=layer.macs,
                scores={criterion: by_layer[layer.name] for criterion, by_layer in scores.layers.items()},
            )
            for layer in layers
        ],
        candidates=found.candidates,
        architectures=architectures,
        # The exporter is the same for all, so the trained file serves: weights do not change the latency.
        base_untrained_onnx=base.onnx,
        reach=found.reach,
        notes=found.notes,
        seconds=stopwatch.seconds,
    )


def _train_base(
    payload: ScorePayload,
    model: nn.Module,
    material: Material,
    folder: Path,
    report: Report,
    checkpoint: Checkpoint,
    stopwatch: Stopwatch,
) -> tuple[TrainedNetwork, fx.GraphModule]:
    with stopwatch.phase("training"):
        curve = train_(
            model,
            material.train,
            payload.training,
            epochs=payload.training.base_epochs or material.dataset.default_base_epochs,
            seed=payload.seed,
            validation=material.validation,
            phase="training the base",
            on_progress=report,
            checkpoint=checkpoint,
        )
    with stopwatch.phase("evaluating"):
        validation, test = judge(model, material)
    expected, accuracy = payload.model.expected_accuracy, test.correct / test.n
    if expected is not None and abs(accuracy - expected) > _ACCURACY_SLACK:
        raise BadInput(
            f"the base reaches {accuracy:.2%} on the test images, {expected:.2%} was expected",
            field="model.expected_accuracy",
            value=expected,
            code="weights_mismatch",
            remedy="Check weights and preprocessing, train longer (training.base_epochs), or correct the expectation.",
        )
    graph = trace(model, material.example)
    nothing = Plan(method="layer", criterion="none", base_architecture=architecture_hash(graph))
    base = write_network(
        graph,
        nothing,
        material,
        folder=folder,
        name="base",
        validation=Accuracies(final=validation),
        test=Accuracies(final=test),
        curve=curve,
        stopwatch=stopwatch,
    )
    return base, graph


def _score(
    payload: ScorePayload,
    graph: fx.GraphModule,
    layers: Sequence[Layer],
    material: Material,
    checkpoint: Checkpoint,
) -> Scores:
    images, labels = material.calibration
    context = ScoringContext(
        graph=graph,
        layers=layers,
        batches=list(zip(torch.split(images, _SCORING_BATCH), torch.split(labels, _SCORING_BATCH), strict=True)),
        classes=len(material.dataset.classes),
        seed=payload.seed,
    )
    return score_all(payload.pruning.criteria, context, checkpoint=checkpoint)


def _export(
    found: CandidateSet, material: Material, folder: Path, report: Report, checkpoint: Checkpoint
) -> list[Architecture]:
    """Export each distinct architecture once, with the weights that surgery leaves."""
    distinct = {candidate.architecture: candidate for candidate in found.candidates}
    exported = []
    for number, (architecture, candidate) in enumerate(distinct.items()):
        checkpoint()
        message = f"{number + 1} of {len(distinct)} architectures"
        report(Progress(phase="exporting", message=message, fraction=number / len(distinct)))
        path = f"architecture-{architecture[:16]}.onnx"
        export_onnx(found.rebuild(architecture), material.example, folder / path)
        exported.append(
            Architecture(architecture=architecture, onnx=path, params=candidate.params, macs=candidate.macs)
        )
    return exported
