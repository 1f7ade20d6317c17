"""Apply one plan to the base, or make a rival; fine-tune, evaluate and export: a variant."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

from layerprune.api.errors import LayerPruneError
from layerprune.api.jobs import Progress
from layerprune.api.tasks import BuildPayload, BuildResult
from layerprune.api.training import Accuracies, EpochRecord
from layerprune.api.wire import Proportion
from layerprune.training.group import Group, processes_for, together
from layerprune.training.loop import train_
from layerprune.training.norms import reestimate_batch_norm_, statistics_batches
from layerprune.training.precision import handed_on
from layerprune.training.recipe import Recipe, make_recipe

from .architectures import check_untrained
from .base import material_of
from .network import Checkpoint, Report, Stopwatch, judge, scaled, write_network
from .parsing import EarlyCheck
from .training import snapshots_of
from .variants import Stages, make_variant


def run(payload: BuildPayload, *, folder: Path, report: Report, checkpoint: Checkpoint) -> BuildResult:
    """Build the variant, whatever its family; weights, and a state to resume from, lie in `folder`/inputs by digest."""
    work = partial(_work, payload, folder, report, checkpoint)
    result = together(work, processes=processes_for(payload.training.batch_size))
    assert result is not None
    return result


def _work(
    payload: BuildPayload, folder: Path, report: Report, checkpoint: Checkpoint, group: Group
) -> BuildResult | None:
    """Do the build as one of a group; only its first process judges, reports and writes."""
    builder = _Builder(payload, folder, report if group.leads else None, checkpoint if group.leads else None, group)
    builder.train()
    return builder.finish() if group.leads else None


class _Builder:
    """One build: the variant as it is made, and what was seen of it on the way."""

    def __init__(
        self, payload: BuildPayload, folder: Path, report: Report | None, checkpoint: Checkpoint | None, group: Group
    ) -> None:
        self._payload, self._folder, self._group = payload, folder, group
        self._stopwatch = Stopwatch()
        self._report = report
        self._checkpoint = self._stopwatch.excluding(checkpoint) if checkpoint is not None else None
        self._snapshots = snapshots_of(payload, folder)
        self._tell(Progress(phase="preparing", message="loading the base", fraction=0.0))
        with self._stopwatch.phase("preparing"):
            self._material = material_of(payload.model, payload.dataset, folder=folder)
            self._variant = make_variant(payload, self._material, folder, group=group, snapshots=self._snapshots)
            self._graph = next(self._variant.stages)
            if payload.rival is not None and group.leads:
                untrained = copy.deepcopy(self._graph).cpu()
                check = EarlyCheck(payload.parse_for)
                check_untrained(untrained, self._material, folder, check, opset=payload.opset, what="the rival")
        self._moments: list[tuple[Proportion, Proportion]] = []  # accuracies on validation and test
        self._curve: list[EpochRecord] = []

    def train(self) -> None:
        """Go through the stages; those that lie before a state that is resumed are repeated without their training."""
        found, epochs = self._snapshots.found, self._variant.epochs
        done = found.facts["stage"] if found is not None else 0
        if found is not None:
            self._curve = [EpochRecord.model_validate(record) for record in found.facts["context"]["curve"]]
        for stage in range(len(epochs)):
            self._snapshots.stage = stage
            if stage > 0:
                with self._stopwatch.phase("pruning"):
                    self._graph = next(self._variant.stages)
            if stage < done:
                continue
            if self._payload.rival is None:
                self._repair(is_last=stage == len(epochs) - 1)
            self._train_stage(stage)
            if stage == done > 0 and self._snapshots.found is None:
                raise LayerPruneError(f"the checkpoint does not fit, and {done} stages before it were not trained")

    def finish(self) -> BuildResult:
        """Judge and write the network."""
        self._tell(Progress(phase="exporting", message="writing and checking ONNX", fraction=0.95))
        with self._stopwatch.phase("evaluating"):
            self._moments.append(judge(self._graph, self._material))
        validation, test = (_accuracies([moment[i] for moment in self._moments]) for i in range(2))
        network = write_network(
            self._graph.cpu(),
            _last_word(self._variant.stages),
            self._material,
            folder=self._folder,
            name="variant",
            validation=validation,
            test=test,
            curve=self._curve,
            recipe=self._recipe(),
            forms=self._payload.forms,
            opset=self._payload.opset,
            stopwatch=self._stopwatch,
        )
        return BuildResult(network=network, notes=[*self._variant.notes, *self._snapshots.notes])

    def _train_stage(self, stage: int) -> None:
        epochs = self._variant.epochs
        before, total = sum(epochs[:stage]), sum(epochs)
        self._snapshots.context["curve"] = [record.model_dump() for record in self._curve]
        with self._stopwatch.phase("training"):
            trained = train_(
                self._graph,
                self._material.train,
                self._recipe(),
                epochs=epochs[stage],
                seed=self._payload.training_seed + stage,
                validation=self._material.validation,
                teacher=self._variant.teacher,
                phase=self._variant.phase,
                on_progress=scaled(scaled(self._tell, 0.05, 0.95), before / total, (before + epochs[stage]) / total),
                checkpoint=self._checkpoint,
                snapshots=self._snapshots,
                group=self._group,
            )
        self._curve += [record.model_copy(update={"epoch": before + record.epoch}) for record in trained]

    def _repair(self, *, is_last: bool) -> None:
        """Re-estimate the pruned network's batch-norm statistics; judge it before and after, once all is pruned."""
        if not self._group.leads:
            return  # the first process's statistics reach the others in the training's first step
        if is_last:
            with self._stopwatch.phase("evaluating"):
                self._moments.append(judge(self._graph, self._material))
        with self._stopwatch.phase("training"):
            batches = statistics_batches(
                self._material.train,
                batch_size=self._payload.training.batch_size,
                seed=self._payload.training_seed,
                device=self._group.device,
            )
            reestimate_batch_norm_(self._graph, batches)
        if is_last:
            with self._stopwatch.phase("evaluating"):
                self._moments.append(judge(self._graph, self._material))

    def _recipe(self) -> Recipe:
        return make_recipe(
            self._graph,
            self._payload.training,
            origin=self._variant.origin,
            flip=self._material.dataset.flip,
            precision=handed_on(self._payload.recipe, self._group.device),
        )

    def _tell(self, progress: Progress) -> None:
        if self._report is not None:
            self._report(progress)


def _last_word(stages: Stages) -> dict[str, Any]:
    """Return what the stages return when there is none left."""
    try:
        next(stages)
    except StopIteration as end:
        description: dict[str, Any] = end.value
        return description
    raise AssertionError("a stage was not trained")


def _accuracies(moments: list[Proportion]) -> Accuracies:
    """Name the moments of one split: three for a pruned network, the last alone for a rival."""
    if len(moments) == 1:
        return Accuracies(final=moments[0])
    after_surgery, after_reestimation, final = moments
    return Accuracies(after_surgery=after_surgery, after_reestimation=after_reestimation, final=final)
