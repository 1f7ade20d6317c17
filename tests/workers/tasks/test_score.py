"""Scoring from end to end: a small base on real digits, its candidates, and the files that go with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.api.jobs import Progress
from layerprune.api.network import ModelSpec, Preprocess
from layerprune.api.pruning import FilterOptions, PruningSpec
from layerprune.api.tasks import ScorePayload, ScoreResult
from layerprune.api.training import TrainingSpec
from layerprune.criteria.base import ScoringContext
from layerprune.criteria.observation import score_all
from layerprune.data.material import load_material
from layerprune.models import build
from layerprune.structure.layers import find_layers
from layerprune.structure.plan import Plan
from layerprune.structure.trace import trace
from workers.tasks import score

PREPROCESS = Preprocess(size=8, channels=3, mean=[0.3] * 3, std=[0.4] * 3)
MODEL = ModelSpec(name="cifar:resnet20", args={"width": 4}, preprocess=PREPROCESS)


def _payload(**changes: Any) -> ScorePayload:
    return ScorePayload(
        **{
            "model": MODEL,
            "dataset": DatasetSpec(name="digits"),
            "pruning": PruningSpec(
                criteria=["weight_l1", "imprinting"], amounts=[0.3, 0.6], filters=FilterOptions(alignments=[1])
            ),
            "training": TrainingSpec(base_epochs=1),
            "seed": 0,
        }
        | changes
    )


def _run(
    payload: ScorePayload, folder: Path, report: Callable[[Progress], None] = lambda progress: None
) -> ScoreResult:
    torch.set_num_threads(1)
    return score.run(payload, folder=folder, report=report, checkpoint=lambda: None)


@pytest.fixture(scope="module")
def reports() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("score")


@pytest.fixture(scope="module")
def result(folder: Path, reports: list[Progress]) -> ScoreResult:
    """One scoring for all tests that only read what it left."""
    return _run(_payload(), folder, reports.append)


def test_every_default_layer_has_a_score_by_every_criterion(result: ScoreResult) -> None:
    assert [layer.name for layer in result.layers] == [
        *("layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2")
    ]
    assert all(set(layer.scores) == {"weight_l1", "imprinting"} for layer in result.layers)


def test_candidates_cover_the_families_and_name_their_architecture(result: ScoreResult) -> None:
    assert {(c.method, c.criterion) for c in result.candidates} == {
        *(("layer", "weight_l1"), ("layer", "imprinting"), ("filter", "weight_l1"), ("hybrid", "weight_l1"))
    }
    assert {c.architecture for c in result.candidates if c.method != "hybrid"} == {
        a.architecture for a in result.architectures
    }
    assert all(Plan.from_dict(c.plan).hash == c.plan_hash for c in result.candidates)
    assert any("imprinting" in note and "layer plans only" in note for note in result.notes)


def test_every_named_file_exists_and_every_network_runs_at_any_batch(result: ScoreResult, folder: Path) -> None:
    networks = [result.base.onnx, result.base_untrained_onnx, *(a.onnx for a in result.architectures)]
    for path in networks:
        session = onnxruntime.InferenceSession(folder / path, providers=["CPUExecutionProvider"])
        for batch in (1, 5):
            (outputs,) = session.run(["logits"], {"input": np.zeros((batch, 3, 8, 8), np.float32)})
            assert outputs.shape == (batch, 10)


def test_the_evaluation_pack_holds_the_test_images_in_stored_order(result: ScoreResult, folder: Path) -> None:
    header, _, body = (folder / result.evaluation_pack).read_bytes().partition(b"\n")
    material = load_material(MODEL, DatasetSpec(name="digits"))
    classes = list(material.dataset.classes)
    expected = {"format": "lp-eval-1", "n": 540, "height": 8, "width": 8, "channels": 1, "classes": classes}
    assert json.loads(header) == expected
    pixels = np.frombuffer(body[: 540 * 64], np.uint8).reshape(540, 8, 8, 1)
    assert np.array_equal(pixels.transpose(0, 3, 1, 2), material.test.pixels(torch.arange(540)))
    assert np.array_equal(np.frombuffer(body[540 * 64 :], "<u2"), material.test.labels)
    assert (result.evaluation_images, result.dataset_fingerprint) == (540, material.dataset.fingerprint)


def test_reference_outputs_are_the_bases_on_the_first_images_of_the_pack(result: ScoreResult, folder: Path) -> None:
    reference = np.load(folder / result.base.reference_outputs)
    session = onnxruntime.InferenceSession(folder / result.base.onnx, providers=["CPUExecutionProvider"])
    images = load_material(MODEL, DatasetSpec(name="digits")).test.first(64).numpy()
    (outputs,) = session.run(["logits"], {"input": images})
    assert reference.dtype == np.float32
    assert np.abs(outputs - reference).max() <= 1e-4 * np.abs(reference).max()


def test_the_base_comes_with_plan_preprocessing_and_weights(result: ScoreResult, folder: Path) -> None:
    assert Plan.from_dict(json.loads((folder / result.base.plan).read_text())).is_empty
    assert Preprocess.model_validate_json((folder / result.base.preprocess_file).read_text()) == result.base.preprocess
    assert result.base.preprocess.classes == [str(digit) for digit in range(10)]
    assert sum(w.numel() for name, w in load_file(folder / result.base.weights).items() if "running" not in name) > 0
    assert (result.base.test.final.n, result.base.validation.final.n) == (540, 158)


def test_progress_rises_through_the_phases(result: ScoreResult, reports: list[Progress]) -> None:
    fractions = [progress.fraction or 0.0 for progress in reports]
    assert fractions == sorted(fractions)
    assert list(dict.fromkeys(p.phase for p in reports)) == ["preparing", "training the base", "scoring", "exporting"]
    assert {"training", "scoring", "exporting", "evaluating"} <= set(result.seconds)


def test_scores_come_from_the_trained_base_and_the_calibration_split(result: ScoreResult, folder: Path) -> None:
    batches = load_material(MODEL, DatasetSpec(name="digits")).calibration.batches(157)
    model = build(MODEL.name, classes=10, args=MODEL.args).eval()
    model.load_state_dict(load_file(folder / result.base.weights))
    graph = trace(model, batches[0][0])
    layers = [layer for layer in find_layers(graph) if layer.default]
    expected = score_all(["weight_l1", "imprinting"], ScoringContext(graph, layers, batches, 10, seed=0))
    for layer in result.layers:
        scores = {name: by_layer[layer.name] for name, by_layer in expected.layers.items()}
        assert layer.scores == pytest.approx(scores, abs=1e-6)


def test_a_base_far_from_the_expected_accuracy_stops_the_job(tmp_path: Path) -> None:
    model = MODEL.model_copy(update={"expected_accuracy": 0.999})
    with pytest.raises(BadInput, match=r"99.90% was expected") as caught:
        _run(_payload(model=model), tmp_path)
    assert caught.value.code == "weights_mismatch"


def test_an_input_too_small_for_the_network_fails_before_the_training(tmp_path: Path) -> None:
    model = ModelSpec(name="torchvision:alexnet", preprocess=PREPROCESS)
    seen: list[Progress] = []
    with pytest.raises(BadInput) as caught:
        _run(_payload(model=model), tmp_path, seen.append)
    assert caught.value.code == "untraceable"
    assert {progress.phase for progress in seen} == {"preparing"}


def test_hybrids_alone_give_edits_to_solve_budgets_from_and_no_candidate(tmp_path: Path) -> None:
    pruning = PruningSpec(methods=["hybrid"], criteria=["weight_l1"], filters=FilterOptions(alignments=[8]))
    found = _run(_payload(pruning=pruning), tmp_path)
    assert found.candidates == []
    assert {edit.kind for edit in found.edits} == {"layer", "channels"}
    assert {edit.architecture for edit in found.edits} == {one.architecture for one in found.architectures}
    assert [reach.family for reach in found.reach] == ["hybrid"]
