"""Building one variant from end to end, on real digits."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.api.jobs import Progress
from layerprune.api.network import ModelSpec, Preprocess
from layerprune.api.tasks import BuildPayload, BuildResult
from layerprune.api.training import Schedule, TrainingSpec
from layerprune.criteria.base import ScoringContext
from layerprune.criteria.observation import score_all
from layerprune.data.material import load_material
from layerprune.evaluate import logits
from layerprune.models import build as build_model
from layerprune.planning.filters import filter_plan
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace
from layerprune.training import snapshots
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
    scores = score_all(["weight_l1"], ScoringContext(graph, [], [], 10, 0)).filters["weight_l1"]
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
    outputs = logits(graph, load_material(MODEL, DatasetSpec(name="digits")).test.first(64))
    assert np.load(tmp_path / network.reference_outputs) == pytest.approx(outputs.numpy(), abs=1e-4)


def test_the_same_seed_builds_the_same_weights(weights: str, tmp_path: Path) -> None:
    built: list[dict[str, Tensor]] = []
    for seed in (0, 0, 1):
        network = _run(_payload(_layer_plan(), weights, training_seed=seed), tmp_path).network
        built.append(load_file(tmp_path / network.weights))
    assert all(torch.equal(built[0][key], built[1][key]) for key in built[0])
    assert not all(torch.equal(built[0][key], built[2][key]) for key in built[0])


def test_a_build_that_was_killed_is_resumed_to_the_same_weights(
    put: Put, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "EVERY_S", 0.0)
    payload = _payload(_layer_plan(), weights, training=TrainingSpec(epochs=3))
    whole = load_file(tmp_path / _run(payload, tmp_path).network.weights)
    state = tmp_path / "checkpoint.safetensors"
    state.unlink()

    def work() -> None:
        torch.set_num_threads(1)
        _run(payload, tmp_path)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    deadline = time.monotonic() + 120
    while not state.exists() or _epoch(state) < 2:
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = put(state.read_bytes())
    result = _run(payload.model_copy(update={"resume": left}), tmp_path)
    resumed = load_file(tmp_path / result.network.weights)
    assert result.notes == []
    assert [record.epoch for record in result.network.curve] == [1, 2, 3]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def _epoch(state: Path) -> int:
    found = state.with_name("seen")
    shutil.copy(state, found)
    with safe_open(found, framework="pt") as file:
        epoch: int = json.loads(file.metadata()["layerprune-training"])["position"]["epoch"]
    return epoch


def test_a_checkpoint_of_another_build_is_ignored_with_a_note(
    put: Put, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "EVERY_S", 0.0)
    other = _payload(_layer_plan(), weights, training_seed=1)
    _run(other, tmp_path)
    left = put((tmp_path / "checkpoint.safetensors").read_bytes())
    result = _run(_payload(_layer_plan(), weights, resume=left), tmp_path)
    assert "another plan or another recipe" in result.notes[0]


def test_a_variant_tells_how_it_was_trained(weights: str, tmp_path: Path) -> None:
    chosen = {"dtype": "bfloat16", "channels_last": False, "device": "cpu", "trial_ms": {"float32": 2.0}}
    recipe = _run(_payload(_layer_plan(), weights, recipe={"precision": chosen}), tmp_path).network.recipe
    assert recipe["precision"] == chosen
    assert (recipe["optimizer"], recipe["learning_rate"], recipe["flip"]) == ("sgd", 0.05, False)


def _iterative_payload(weights: str) -> BuildPayload:
    remove = ("layer1.1", "layer3.2")
    filters = _filter_plan()
    left = tuple(cut for cut in filters.prune if not cut[0].startswith(remove))
    plan = dataclasses.replace(filters, method="hybrid", remove=remove, prune=left)
    training = TrainingSpec(epochs=5, batch_size=256, schedule=Schedule(kind="iterative", steps=3))
    return _payload(plan, weights, training=training)


def test_an_iterative_build_ends_with_the_architecture_of_its_plan(weights: str, tmp_path: Path) -> None:
    payload = _iterative_payload(weights)
    network = _run(payload, tmp_path).network
    expected = apply_plan_(trace(_base(), EXAMPLE), Plan.from_dict(payload.plan), EXAMPLE)
    assert network.architecture == architecture_hash(expected)
    assert [record.epoch for record in network.curve] == [1, 2, 3, 4, 5]
    assert network.validation.after_surgery is not None
    # What is stored is the plan as it came out, and the weights fit it.
    actual = Plan.from_dict(json.loads((tmp_path / network.plan).read_text()))
    apply_plan_(trace(_base(), EXAMPLE), actual, EXAMPLE).load_state_dict(load_file(tmp_path / network.weights))


def test_an_iterative_build_resumes_in_a_later_stage(
    put: Put, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "EVERY_S", 0.0)
    payload = _iterative_payload(weights)
    whole = load_file(tmp_path / _run(payload, tmp_path).network.weights)
    passed = 0

    def stop() -> None:
        nonlocal passed
        passed += 1
        if passed == 9:  # three steps per epoch; the second stage begins with the fourth step
            raise InterruptedError

    with pytest.raises(InterruptedError):
        build.run(payload, folder=tmp_path, report=lambda progress: None, checkpoint=stop)
    left = put((tmp_path / "checkpoint.safetensors").read_bytes())
    result = _run(payload.model_copy(update={"resume": left}), tmp_path)
    resumed = load_file(tmp_path / result.network.weights)
    assert result.notes == []
    assert [record.epoch for record in result.network.curve] == [1, 2, 3, 4, 5]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_steps_for_which_there_are_no_epochs_are_left_out_and_noted(weights: str, tmp_path: Path) -> None:
    training = TrainingSpec(epochs=2, batch_size=256, schedule=Schedule(kind="iterative", steps=7))
    result = _run(_payload(_layer_plan(), weights, training=training), tmp_path)
    assert result.notes == ["pruned in 2 steps: there are no more epochs"]
    assert len(result.network.curve) == 2


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
    with pytest.raises(BadInput, match=r"layer2\.0\.conv1\.weight holds NaN or infinity") as caught:
        _run(_payload(_layer_plan(), put(save(state))), tmp_path)
    assert caught.value.code == "weights_mismatch"


@pytest.mark.parametrize("content", [b"not safetensors", save({"fc.bias": torch.zeros(10)})], ids=["broken", "foreign"])
def test_a_file_that_does_not_fit_is_refused(content: bytes, put: Put, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="do not fit the network|the weights cannot be read") as caught:
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
