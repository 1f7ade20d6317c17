"""Searching from end to end: a small base on real digits, its edits, and plans for latency targets."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

from layerprune.api.dataset import DatasetSpec
from layerprune.api.network import ModelSpec, Preprocess
from layerprune.api.pruning import PruningSpec, TargetLists
from layerprune.api.tasks import ScorePayload, ScoreResult, SearchPayload, SearchPlace, SearchResult, Tried
from layerprune.api.training import TrainingSpec
from layerprune.structure.plan import Plan
from workers.tasks import score, search

PREPROCESS = Preprocess(size=8, channels=3, mean=[0.3] * 3, std=[0.4] * 3)
MODEL = ModelSpec(name="cifar:resnet20", args={"width": 8}, preprocess=PREPROCESS)
PRUNING = PruningSpec(
    methods=["layer", "filter", "hybrid"],
    criteria=["weight_l1", "imprinting", "loss_increase"],
    targets=TargetLists(latency_ratios=[0.7, 0.05]),
)
COMMON: dict[str, Any] = {"model": MODEL, "dataset": DatasetSpec(name="digits"), "pruning": PRUNING, "seed": 0}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[ScoreResult, Path]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("score")
    payload = ScorePayload(**COMMON, training=TrainingSpec(base_epochs=1))
    return score.run(payload, folder=folder, report=lambda progress: None, checkpoint=lambda: None), folder


def searched(scored: tuple[ScoreResult, Path], folder: Path, tried: list[Tried], round_no: int) -> SearchResult:
    """Search as if latency were proportional to multiply-accumulates."""
    result, written = scored
    (folder / "inputs").mkdir()
    assert result.filter_scores is not None
    for name in (result.base.weights, result.filter_scores):
        shutil.copy(written / name, folder / "inputs" / name)
    ratios = {one.architecture: one.macs / result.base.macs for one in result.architectures}
    payload = SearchPayload(
        **COMMON,
        base_weights=result.base.weights,
        filter_scores=result.filter_scores,
        edits=result.edits,
        layer_scores={
            criterion: {layer.name: layer.scores[criterion] for layer in result.layers}
            for criterion in PRUNING.criteria
        },
        places=[SearchPlace(place="here", targets=[0.7, 0.05], ratios=ratios, tried=tried)],
        round=round_no,
    )
    return search.run(payload, folder=folder, report=lambda progress: None, checkpoint=lambda: None)


@pytest.fixture(scope="module")
def first(scored: tuple[ScoreResult, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchResult, Path]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("search")
    return searched(scored, folder, [], 1), folder


def test_scoring_exports_every_edit_and_says_what_it_costs(scored: tuple[ScoreResult, Path]) -> None:
    result, folder = scored
    assert {edit.kind for edit in result.edits} == {"layer", "channels"}
    assert {edit.architecture for edit in result.edits} <= {one.architecture for one in result.architectures}
    assert all(set(edit.costs) == {"weight_l1", "loss_increase"} for edit in result.edits)
    assert all((folder / one.onnx).exists() for one in result.architectures)


def test_every_family_gets_a_plan_within_the_target(first: tuple[SearchResult, Path]) -> None:
    result, _ = first
    within = [one for one in result.solved if one.target == 0.7]
    assert {(one.family, one.criterion) for one in within} == {
        *(("layer", "weight_l1"), ("layer", "imprinting"), ("layer", "loss_increase")),
        *(("filter_aligned", "weight_l1"), ("filter_aligned", "loss_increase")),
        *(("hybrid", "weight_l1"), ("hybrid", "loss_increase")),
    }
    amounts = {(one.plan_hash, one.family): one.amount for one in result.candidates}
    for one in within:
        assert one.predicted <= 0.7
        # MACs stood in for latency, so that what is predicted has to come true.
        assert 1 - amounts[one.plan_hash, one.family] == pytest.approx(one.predicted, abs=0.01)


def test_a_target_that_is_out_of_reach_is_named(first: tuple[SearchResult, Path]) -> None:
    result, _ = first
    assert any(note.startswith("layer by imprinting cannot reach 0.05") for note in result.notes)


def test_every_new_plan_is_exported_and_runs(
    scored: tuple[ScoreResult, Path], first: tuple[SearchResult, Path]
) -> None:
    result, folder = first
    timed = {one.architecture for one in scored[0].architectures}
    new = {one.architecture for one in result.candidates} - timed
    assert {one.architecture for one in result.architectures} == new
    assert all(Plan.from_dict(one.plan).hash == one.plan_hash for one in result.candidates)
    path = folder / result.architectures[-1].onnx
    assert onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_outputs()[0].name == "logits"


def test_a_met_target_keeps_its_plan_and_a_missed_one_is_solved_tighter(
    scored: tuple[ScoreResult, Path], first: tuple[SearchResult, Path], tmp_path: Path
) -> None:
    hybrids = [one for one in first[0].solved if one.family == "hybrid" and one.target == 0.7]
    met, missed = hybrids
    tried = [Tried(solved=met, measured=0.69), Tried(solved=missed, measured=missed.predicted + 0.05)]
    again = searched(scored, tmp_path, tried, 2)
    solved = {(one.family, one.criterion): one for one in again.solved if one.target == 0.7}
    assert solved["hybrid", met.criterion] == met
    tighter = solved["hybrid", missed.criterion]
    assert tighter.plan_hash != missed.plan_hash
    assert tighter.predicted <= 0.7
