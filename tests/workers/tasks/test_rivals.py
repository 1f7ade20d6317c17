"""Building a rival: a network that is small by design, with the base as its teacher."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.api.network import ModelSpec, Preprocess, RivalSpec, rival_hash
from layerprune.api.tasks import BuildPayload, BuildResult
from layerprune.api.training import TrainingSpec
from layerprune.models import build as build_model
from workers.tasks import build

Put = Callable[[bytes], str]
MODEL = ModelSpec(
    name="cifar:resnet20", args={"width": 8}, preprocess=Preprocess(size=8, mean=[0.3] * 3, std=[0.4] * 3)
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    # Two threads that share a busy core wait for each other at every operation.
    torch.set_num_threads(1)


@pytest.fixture
def weights(put: Put) -> str:
    return put(save(dict(build_model(MODEL.name, classes=10, args=MODEL.args).state_dict())))


def _payload(rival: RivalSpec, weights: str, **changes: Any) -> BuildPayload:
    asked = {
        "model": MODEL,
        "dataset": DatasetSpec(name="digits"),
        "training": TrainingSpec(epochs=1),
        "base_weights": weights,
        "rival": rival,
        "plan_hash": rival_hash(rival),
        "training_seed": 0,
        "seed": 0,
    }
    return BuildPayload.model_validate(asked | changes)


def _run(payload: BuildPayload, folder: Path) -> BuildResult:
    return build.run(payload, folder=folder, report=lambda progress: None, checkpoint=lambda: None)


def test_a_rival_is_trained_for_as_long_as_base_and_variant_together(weights: str, tmp_path: Path) -> None:
    rival = RivalSpec(name="cifar:resnet20", args={"width": 4})
    training = TrainingSpec(epochs=1, base_epochs=2)
    network = _run(_payload(rival, weights, training=training), tmp_path).network
    assert [record.epoch for record in network.curve] == [1, 2, 3]
    assert json.loads((tmp_path / network.plan).read_text()) == {
        "method": "handcrafted",
        **rival.model_dump(mode="json"),
    }
    assert network.validation.after_surgery is None
    assert network.validation.final.n == 158
    expected = build_model(rival.name, classes=10, args=rival.args)
    assert network.params == sum(parameter.numel() for parameter in expected.parameters())


def test_a_rival_with_weights_is_fine_tuned(put: Put, weights: str, tmp_path: Path) -> None:
    narrow = build_model("cifar:resnet20", classes=10, args={"width": 4}, seed=7)
    rival = RivalSpec(name="cifar:resnet20", args={"width": 4}, weights=put(save(dict(narrow.state_dict()))))
    network = _run(_payload(rival, weights), tmp_path).network
    assert len(network.curve) == 1
    assert network.recipe["learning_rate"] == 0.01


def test_a_rival_that_does_not_match_its_hash_is_refused(weights: str, tmp_path: Path) -> None:
    rival = RivalSpec(name="cifar:resnet20")
    with pytest.raises(BadInput, match="the rival's hash is"):
        _run(_payload(rival, weights, plan_hash="0" * 64), tmp_path)
