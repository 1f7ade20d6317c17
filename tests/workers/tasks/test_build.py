"""Building one variant from end to end, on real digits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.api.jobs import Progress
from layerprune.api.network import ModelSpec, Preprocess
from layerprune.api.tasks import BuildPayload, BuildResult
from layerprune.api.training import TrainingSpec
from layerprune.criteria import get
from layerprune.criteria.base import ScoringContext
from layerprune.data import load_dataset, normalise
from layerprune.evaluate import logits
from layerprune.filters import filter_plan
from layerprune.models import build as build_model
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace
from workers.tasks import build

Put = Callable[[bytes], str]
MODEL = ModelSpec(
    name="cifar:resnet20",
    args={"width": 8},
    preprocess=Preprocess(size=8, channels=3, mean=[0.3] * 3, std=[0.4] * 3),
)
EXAMPLE = torch.zeros(2, 3, 8, 8)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    # Two threads that share a busy core wait for each other at every operation.
    torch.set_num_threads(1)


def _base() -> torch.nn.Module:
    return build_model(MODEL.name, classes=10, args=MODEL.args).eval()


def _layer_plan() -> Plan:
    graph = trace(_base(), EXAMPLE)
    return Plan(
        method="layer",
        criterion="weight_l1",
        base_architecture=architecture_hash(graph),
        remove=("layer1.1", "layer3.2"),
    )


def _filter_plan() -> Plan:
    graph = trace(_base(), EXAMPLE)
    scores = get("weight_l1").filter_scores(ScoringContext(graph, [], [], 10, 0))
    assert scores is not None
    return filter_plan(
        graph, EXAMPLE, scores, criterion="weight_l1", ratio=0.5, alignment=1, scope="uniform", min_channels=4
    )


def _payload(plan: Plan, weights: str, **changes: Any) -> BuildPayload:
    return BuildPayload(
        **{
            "model": MODEL,
            "dataset": DatasetSpec(name="digits"),
            "training": TrainingSpec(epochs=1),
            "base_weights": weights,
            "plan": plan.to_dict(),
            "plan_hash": plan.hash,
            "training_seed": 0,
            "seed": 0,
        }
        | changes
    )


def _run(
    payload: BuildPayload, folder: Path, report: Callable[[Progress], None] = lambda progress: None
) -> BuildResult:
    return build.run(payload, folder=folder, report=report, checkpoint=lambda: None)


@pytest.fixture
def weights(put: Put) -> str:
    return put(save(dict(_base().state_dict())))


@pytest.mark.parametrize("make_plan", [_layer_plan, _filter_plan])
def test_a_variant_is_what_its_plan_says(make_plan: Callable[[], Plan], weights: str, tmp_path: Path) -> None:
    plan = make_plan()
    network = _run(_payload(plan, weights), tmp_path).network
    expected = apply_plan_(trace(_base(), EXAMPLE), plan, EXAMPLE)
    assert network.architecture == architecture_hash(expected)
    assert network.params == sum(parameter.numel() for parameter in expected.parameters())
    assert network.export_max_relative_difference <= 1e-4
    for accuracies, images in ((network.validation, 158), (network.test, 540)):
        moments = (accuracies.after_surgery, accuracies.after_reestimation, accuracies.final)
        assert [moment is not None and moment.n for moment in moments] == [images] * 3
    assert [record.epoch for record in network.curve] == [1]
    assert {"training", "exporting", "evaluating"} <= set(network.seconds)


def test_weights_and_plan_rebuild_the_variant(weights: str, tmp_path: Path) -> None:
    network = _run(_payload(_layer_plan(), weights), tmp_path).network
    plan = Plan.from_dict(json.loads((tmp_path / network.plan).read_text()))
    graph = apply_plan_(trace(_base(), EXAMPLE), plan, EXAMPLE)
    graph.load_state_dict(load_file(tmp_path / network.weights))
    outputs = logits(graph, normalise(load_dataset("digits").test.images[:64], network.preprocess))
    assert np.load(tmp_path / network.reference_outputs) == pytest.approx(outputs.numpy(), abs=1e-4)


def test_the_same_seed_builds_the_same_weights(weights: str, tmp_path: Path) -> None:
    built: list[dict[str, Tensor]] = []
    for seed in (0, 0, 1):
        network = _run(_payload(_layer_plan(), weights, training_seed=seed), tmp_path).network
        built.append(load_file(tmp_path / network.weights))
    assert all(torch.equal(built[0][key], built[1][key]) for key in built[0])
    assert not all(torch.equal(built[0][key], built[2][key]) for key in built[0])


def test_progress_rises_and_shows_the_training(weights: str, tmp_path: Path) -> None:
    seen: list[Progress] = []
    _run(_payload(_layer_plan(), weights), tmp_path, seen.append)
    fractions = [progress.fraction or 0.0 for progress in seen]
    assert fractions == sorted(fractions)
    assert list(dict.fromkeys(p.phase for p in seen)) == ["preparing", "fine-tuning", "exporting"]
    assert any(p.phase == "fine-tuning" and p.loss is not None and p.accuracy is not None for p in seen)


def test_weights_with_nan_are_refused_by_name(put: Put, tmp_path: Path) -> None:
    state = {key: value.clone() for key, value in _base().state_dict().items()}
    state["layer2.0.conv1.weight"][0] = float("nan")
    with pytest.raises(BadInput, match=r"NaN or infinity in 'layer2.0.conv1.weight'") as caught:
        _run(_payload(_layer_plan(), put(save(state))), tmp_path)
    assert caught.value.code == "weights_mismatch"


@pytest.mark.parametrize("content", [b"not safetensors", save({"fc.bias": torch.zeros(10)})], ids=["broken", "foreign"])
def test_a_file_that_does_not_fit_is_refused(content: bytes, put: Put, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="do not fit the network") as caught:
        _run(_payload(_layer_plan(), put(content)), tmp_path)
    assert caught.value.code == "weights_mismatch"


def test_a_plan_that_does_not_match_its_hash_is_refused(weights: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the plan's hash is"):
        _run(_payload(_layer_plan(), weights, plan_hash="0" * 64), tmp_path)


def test_a_plan_for_another_network_is_refused(weights: str, tmp_path: Path) -> None:
    plan = Plan(method="layer", criterion="weight_l1", base_architecture="0" * 64, remove=("layer1.1",))
    with pytest.raises(BadInput, match="the plan is for architecture"):
        _run(_payload(plan, weights), tmp_path)


def test_a_training_that_diverges_says_so(weights: str, tmp_path: Path) -> None:
    # Steps of this size, in this many of them, overflow float32.
    training = TrainingSpec(epochs=2, learning_rate=10, weight_decay=1, batch_size=8, distillation=0)
    with pytest.raises(BadInput) as caught:
        _run(_payload(_layer_plan(), weights, training=training), tmp_path)
    assert caught.value.code == "diverged"
