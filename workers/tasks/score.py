"""Make the base, score its layers and filters, and write the plans that could be built."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import fx, nn

from layerprune import models
from layerprune.api.errors import BadInput
from layerprune.api.jobs import Progress
from layerprune.api.tasks import Candidate, Edit, LayerInfo, ScorePayload, ScoreResult, TrainedNetwork
from layerprune.api.training import Accuracies, EpochRecord
from layerprune.criteria.base import ScoringContext
from layerprune.criteria.observation import Scores, score_all
from layerprune.data.material import Material
from layerprune.planning.candidates import CandidateSet, by_amounts, enumerate_candidates
from layerprune.planning.edits import LOSS, Editor
from layerprune.planning.guide import with_guide
from layerprune.planning.held_out import loss_after_repair
from layerprune.planning.score_file import write_scores
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.layers import Layer, candidates_of, find_layers
from layerprune.structure.macs import count
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace
from layerprune.training.group import Group, processes_for, together
from layerprune.training.loop import train_
from layerprune.training.recipe import Recipe, make_recipe
from layerprune.training.snapshots import Snapshots

from .architectures import ArchitectureWriter, Wanted, check_untrained
from .base import is_trained, make_model, material_of
from .diagnosis import likely_cause
from .network import (
    Checkpoint,
    Report,
    Stopwatch,
    judge,
    scaled,
    write_evaluation_pack,
    write_network,
)
from .parsing import EarlyCheck
from .training import snapshots_of, with_precision

_ACCURACY_SLACK = 0.005
_SCORING_BATCH = 64
_FILTER_SCORES = "filter-scores.safetensors"


def run(payload: ScorePayload, *, folder: Path, report: Report, checkpoint: Checkpoint) -> ScoreResult:
    """Train the base, score it on the calibration split, enumerate the candidates and export what a sweep needs."""
    stopwatch = Stopwatch()
    checkpoint = stopwatch.excluding(checkpoint)
    report(Progress(phase="preparing", message="loading the data set", fraction=0.0))
    with stopwatch.phase("preparing"):
        material = material_of(payload.model, payload.dataset, folder=folder)
        model, notes = make_model(payload.model, material, seed=payload.seed, folder=folder)
        # Before the training, which would be in vain if the network cannot be traced, or cannot run on a device.
        untrained = trace(model, material.example)
        check = EarlyCheck(payload.parse_for)
        check_untrained(untrained, material, folder, check, opset=payload.opset)
    snapshots = snapshots_of(payload, folder)
    base, graph = _train_base(
        payload, model, material, folder, scaled(report, 0.0, 0.75), checkpoint, stopwatch, snapshots
    )

    report(Progress(phase="scoring", message=f"by {', '.join(payload.pruning.criteria)}", fraction=0.75))
    with stopwatch.phase("scoring"):
        options = payload.pruning.layers
        layers = candidates_of(find_layers(graph, width_changing=options.width_changing), options)
        scores = _score(payload, graph, layers, material, checkpoint)
        found = enumerate_candidates(graph, material.example, scores.layers, scores.filters, payload.pruning)
    with stopwatch.phase("weighing"):
        editor = Editor(graph, material.example, layers, scores.filters, payload.pruning)
        edits = _edits(payload, editor, material, macs=base.macs, checkpoint=checkpoint)
        hybrids = by_amounts(editor, edits, payload.pruning, base_macs=base.macs)
        if payload.pruning.amounts:
            edits = []  # nothing is timed then
    candidates = [*found.candidates, *hybrids]
    if not candidates and not edits:
        why = "; ".join([*(f"{r.family}: {r.stopped_by}" for r in found.reach), *found.notes])
        raise BadInput(
            f"nothing can be pruned from {payload.model.label}: {why or 'it has no removable layer'}",
            field="model",
            value=payload.model.label,
            code="target_unreachable",
            remedy="Use another network, or ask for other methods or alignments.",
        )
    writer = ArchitectureWriter(
        material, folder, [] if payload.pruning.amounts else payload.forms, check, payload.opset
    )
    with stopwatch.phase("exporting"):
        wanted = _wanted(found, editor, edits, hybrids if payload.parse_for else [], graph, material)
        architectures = writer.write(wanted, scaled(report, 0.8, 1.0), checkpoint)
        writer.check_any_left(architectures)
        write_scores(folder / _FILTER_SCORES, scores.filters)
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
                scores={criterion: scores.layers[criterion][layer.name] for criterion in payload.pruning.criteria},
            )
            for layer in layers
        ],
        candidates=[one for one in candidates if one.architecture not in writer.refused],
        architectures=architectures,
        edits=[one for one in edits if one.architecture not in writer.refused],
        filter_scores=_FILTER_SCORES,
        epoch_seconds=statistics.median(record.seconds for record in base.curve) if base.curve else None,
        # The exporter is the same for all, so the trained file serves: weights do not change the latency.
        base_untrained_onnx=base.onnx,
        reach=[*found.reach, *editor.reach(base_macs=base.macs)],
        notes=list(
            dict.fromkeys(
                [*notes, *snapshots.notes, *_pack_notes(material), *found.notes, *editor.notes, *writer.notes]
            )
        ),
        seconds=stopwatch.seconds,
    )


def _pack_notes(material: Material) -> list[str]:
    asked, images = len(material.pack), len(material.test)
    if asked == images:
        return []
    return [
        f"devices are asked about {asked} of {images} test images, drawn by class; the builder's figures are of all"
    ]


def _train_base(
    payload: ScorePayload,
    model: nn.Module,
    material: Material,
    folder: Path,
    report: Report,
    checkpoint: Checkpoint,
    stopwatch: Stopwatch,
    snapshots: Snapshots,
) -> tuple[TrainedNetwork, fx.GraphModule]:
    epochs = payload.training.base_epochs or material.dataset.base_epochs
    with stopwatch.phase("training"):
        train = partial(_train, payload, model, material, epochs, report, checkpoint, snapshots)
        curve, recipe = together(train, processes=processes_for(payload.training.batch_size))
    with stopwatch.phase("evaluating"):
        validation, test = judge(model, material)
        model.cpu()
    expected, accuracy = payload.model.expected_accuracy, test.correct / test.n
    if expected is not None and abs(accuracy - expected) > _ACCURACY_SLACK:
        cause = likely_cause(model, material, expected=expected)
        raise BadInput(
            f"the base reaches {accuracy:.2%} on the test images, {expected:.2%} was expected"
            + (f"; {cause}" if cause else ""),
            field="model.expected_accuracy",
            value=expected,
            code="weights_mismatch",
            remedy="Check weights and preprocessing, train longer (training.base_epochs), or correct the expectation.",
        )
    graph = trace(model, material.example)
    nothing = Plan(method="layer", criterion="none", base_architecture=architecture_hash(graph))
    base = write_network(
        graph,
        nothing.to_dict(),
        material,
        folder=folder,
        name="base",
        validation=Accuracies(final=validation),
        test=Accuracies(final=test),
        curve=curve,
        recipe=recipe,
        forms=payload.forms,
        opset=payload.opset,
        stopwatch=stopwatch,
    )
    return base, graph


def _train(
    payload: ScorePayload,
    model: nn.Module,
    material: Material,
    epochs: int,
    report: Report,
    checkpoint: Checkpoint,
    snapshots: Snapshots,
    group: Group,
) -> tuple[list[EpochRecord], Recipe]:
    """Train the base as one of a group, after settling the job's precision."""
    macs = count(model, material.example)
    model.to(group.device)
    recipe = make_recipe(model, payload.training, origin=models.origin(payload.model), flip=material.dataset.flip)
    recipe = with_precision(recipe, model, material.train, payload.training, macs=macs, epochs=epochs, group=group)
    if is_trained(payload.model):
        return [], recipe
    curve = train_(
        model,
        material.train,
        recipe,
        epochs=epochs,
        seed=payload.seed,
        validation=material.validation,
        phase="training the base",
        on_progress=report if group.leads else None,
        checkpoint=checkpoint if group.leads else None,
        snapshots=snapshots,
        group=group,
    )
    return curve, recipe


def _score(
    payload: ScorePayload,
    graph: fx.GraphModule,
    layers: Sequence[Layer],
    material: Material,
    checkpoint: Checkpoint,
) -> Scores:
    context = ScoringContext(
        graph=graph,
        layers=layers,
        batches=material.calibration.batches(_SCORING_BATCH),
        classes=len(material.dataset.classes),
        seed=payload.seed,
        layer_score=payload.pruning.layer_score,
    )
    return score_all(with_guide(payload.pruning), context, checkpoint=checkpoint)


def _edits(
    payload: ScorePayload, editor: Editor, material: Material, *, macs: int, checkpoint: Checkpoint
) -> list[Edit]:
    """The single edits and what they cost; none if the job neither has latency targets nor wants hybrids."""
    if not payload.pruning.target_list() and "hybrid" not in payload.pruning.methods:
        return []
    edits = editor.edits()
    if LOSS not in editor.criteria:
        return edits
    loss_of = loss_after_repair(
        material.train, material.calibration, macs=macs, times=len(edits) + 1, seed=payload.seed
    )
    return editor.with_loss(edits, loss_of, checkpoint=checkpoint)


def _wanted(
    found: CandidateSet,
    editor: Editor,
    edits: Sequence[Edit],
    hybrids: Sequence[Candidate],
    graph: fx.GraphModule,
    material: Material,
) -> list[Wanted]:
    """Each distinct architecture once, with how to make it."""

    def applied(plan: dict[str, Any]) -> fx.GraphModule:
        return apply_plan_(copy.deepcopy(graph), Plan.from_dict(plan), material.example)

    making: dict[str, tuple[Candidate | Edit, str, Callable[[], fx.GraphModule]]] = {}
    for edit in edits:
        making.setdefault(edit.architecture, (edit, edit.id, partial(editor.apply, edit)))
    for candidate in found.candidates:
        rebuild = partial(found.rebuild, candidate.architecture)
        making.setdefault(candidate.architecture, (candidate, candidate.label, rebuild))
    for hybrid in hybrids:
        making.setdefault(hybrid.architecture, (hybrid, hybrid.label, partial(applied, hybrid.plan)))
    return [
        Wanted(architecture, label, params=one.params, macs=one.macs, make=make)
        for architecture, (one, label, make) in making.items()
    ]
