"""Solve each target exactly from measured costs, and write the plans that came out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from torch import fx

from layerprune.api.jobs import Progress
from layerprune.api.pruning import Family
from layerprune.api.tasks import (
    Candidate,
    SearchPayload,
    SearchPlace,
    SearchResult,
    Solved,
)
from layerprune.data.material import Material
from layerprune.planning.budgets import Budgeted, plan_within
from layerprune.planning.edits import Editor
from layerprune.planning.labels import describe
from layerprune.planning.score_file import read_scores
from layerprune.planning.search import AIM, Unreachable, correction, costs_by_criterion, families
from layerprune.structure.layers import candidates_of, find_layers
from layerprune.structure.macs import count
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace
from layerprune.targets import is_met

from .architectures import ArchitectureWriter, Wanted
from .base import make_model, material_of
from .network import Checkpoint, Report, Stopwatch, scaled
from .parsing import EarlyCheck

_LEAST = 1e-3  # a prediction is a ratio above 0, however far a correction pushes it


def run(payload: SearchPayload, *, folder: Path, report: Report, checkpoint: Checkpoint) -> SearchResult:
    """Find for every place, target, family and criterion the cheapest plan that fits; export what is new.

    A target that the latest solution met, as it was measured, keeps its plan; the others are solved again, with the
    prediction corrected by the misses so far.
    """
    stopwatch = Stopwatch()
    checkpoint = stopwatch.excluding(checkpoint)
    report(Progress(phase="preparing", message="loading the base", fraction=0.0))
    with stopwatch.phase("preparing"):
        material = material_of(payload.model, payload.dataset, folder=folder)
        search = _prepare(payload, material, folder)
    report(Progress(phase="searching", message=f"round {payload.round}", fraction=0.2))
    with stopwatch.phase("searching"):
        for place in payload.places:
            for family in families(payload.pruning):
                for criterion, costs in costs_by_criterion(payload.edits, payload.layer_scores, family).items():
                    for target in place.targets:
                        checkpoint()
                        search.settle(place, target, family, criterion, costs)
    writer = ArchitectureWriter(material, folder, payload.forms, EarlyCheck(payload.parse_for), payload.opset)
    with stopwatch.phase("exporting"):
        architectures = writer.write(search.new(), scaled(report, 0.4, 1.0), checkpoint)
    return SearchResult(
        candidates=[one for one in search.candidates.values() if one.architecture not in writer.refused],
        architectures=architectures,
        solved=[one for one in search.solved if one.architecture not in writer.refused],
        notes=[*search.notes, *writer.notes],
        seconds=stopwatch.seconds,
    )


def _prepare(payload: SearchPayload, material: Material, folder: Path) -> _Search:
    base, _ = make_model(payload.model, material, seed=payload.seed, folder=folder, weights=payload.base_weights)
    graph = trace(base, material.example)
    options = payload.pruning.layers
    layers = candidates_of(find_layers(graph, width_changing=options.width_changing), options)
    scores = read_scores(folder / "inputs" / payload.filter_scores)
    editor = Editor(graph, material.example, layers, scores, payload.pruning)
    timed = {architecture for place in payload.places for architecture in place.ratios}
    return _Search(payload, editor, material, graph, count(graph, material.example), timed)


@dataclass
class _Search:
    payload: SearchPayload
    editor: Editor
    material: Material
    graph: fx.GraphModule
    base_macs: int
    timed: set[str]
    candidates: dict[tuple[str, Family, str], Candidate] = field(default_factory=dict)
    solved: list[Solved] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def settle(
        self, place: SearchPlace, target: float, family: Family, criterion: str, costs: Mapping[str, float]
    ) -> None:
        """Name the plan of one target: the latest one if it met the target, else the one that is solved for now."""
        tried = [
            one
            for one in place.tried
            if (one.solved.target, one.solved.family, one.solved.criterion) == (target, family, criterion)
        ]
        if tried and is_met(tried[-1].measured, target, family=family, predicted=tried[-1].solved.predicted):
            self.solved.append(tried[-1].solved)
            return
        found = self._plan(place, target, family, criterion, costs, miss=correction(tried))
        if isinstance(found, Unreachable):
            self.notes.append(
                f"{family} by {criterion} cannot reach {target:g} of the base's latency: "
                f"{found.lowest:.2f} is the least that single edits predict"
            )
            return
        if found.plan.is_empty:
            return
        candidate = describe(family, found.plan, found.left, base_macs=self.base_macs)
        self.candidates.setdefault((candidate.plan_hash, family, criterion), candidate)
        self.solved.append(
            Solved(
                place=place.place,
                target=target,
                family=family,
                criterion=criterion,
                plan_hash=candidate.plan_hash,
                architecture=candidate.architecture,
                predicted=max(_LEAST, found.predicted),
            )
        )

    def _plan(
        self,
        place: SearchPlace,
        target: float,
        family: Family,
        criterion: str,
        costs: Mapping[str, float],
        *,
        miss: float,
    ) -> Budgeted | Unreachable:
        """Leave room below the target for the noise of a measurement, unless that is out of reach."""
        found: Budgeted | Unreachable = Unreachable(1.0)
        for aim in (AIM * target, target):
            found = plan_within(
                aim,
                self.editor,
                self.payload.edits,
                place.ratios,
                family=family,
                criterion=criterion,
                costs=costs,
                base_macs=self.base_macs,
                correction=miss,
            )
            if isinstance(found, Budgeted):
                break
        return found

    def new(self) -> list[Wanted]:
        """Each architecture that no device has timed yet."""

        def made(candidate: Candidate) -> fx.GraphModule:
            return apply_plan_(copy.deepcopy(self.graph), Plan.from_dict(candidate.plan), self.material.example)

        new = {one.architecture: one for one in self.candidates.values() if one.architecture not in self.timed}
        return [
            Wanted(name, one.label, params=one.params, macs=one.macs, make=partial(made, one))
            for name, one in new.items()
        ]
