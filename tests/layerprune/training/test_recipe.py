"""What a specification leaves out follows from the network and from where its weights came from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layerprune.api.training import TrainingSpec
from layerprune.models import Origin
from layerprune.training.precision import Precision, handed_on, is_worth_a_trial
from layerprune.training.recipe import Normalisation, make_recipe, normalisation_of
from layerprune.training.step import Step
from layerprune.training.trial import fastest

WITH = {
    "batch": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
    "layer": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LayerNorm(4)),
    "none": nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
}


@pytest.mark.parametrize("expected", ["batch", "layer", "none"])
def test_the_normalisation_is_found(expected: Normalisation) -> None:
    assert normalisation_of(WITH[expected]) == expected


@pytest.mark.parametrize(
    ("normalisation", "origin", "optimizer", "learning_rate", "weight_decay"),
    [
        ("batch", "scratch", "sgd", 0.05, 5e-4),
        ("batch", "weights", "sgd", 0.01, 5e-4),
        ("none", "onnx", "sgd", 0.002, 5e-4),
        ("layer", "weights", "adamw", 1e-4, 0.05),
    ],
)
def test_the_defaults_are_those_of_the_table(
    normalisation: str, origin: Origin, optimizer: str, learning_rate: float, weight_decay: float
) -> None:
    recipe = make_recipe(WITH[normalisation], TrainingSpec(), origin=origin)
    assert (recipe.optimizer, recipe.learning_rate, recipe.weight_decay) == (optimizer, learning_rate, weight_decay)


def test_what_the_specification_says_wins() -> None:
    spec = TrainingSpec(learning_rate=0.3, weight_decay=0, flip=False)
    recipe = make_recipe(WITH["layer"], spec, origin="onnx", flip=True)
    assert (recipe.learning_rate, recipe.weight_decay, recipe.flip) == (0.3, 0.0, False)


def test_only_kernels_and_matrices_decay() -> None:
    model = WITH["layer"]
    step = Step(model, make_recipe(model, TrainingSpec()))
    decay = {id(p): group["weight_decay"] for group in step.optimizer.param_groups for p in group["params"]}
    assert {name: decay[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.05, "0.bias": 0, "1.weight": 0, "1.bias": 0, "3.weight": 0, "3.bias": 0,
    }  # fmt: skip


def test_a_faster_precision_must_be_clearly_faster() -> None:
    plain, mixed = Precision(), Precision("bfloat16")
    assert fastest({plain: [1.0, 1.1, 9.0], mixed: [1.05, 1.05, 1.05]}).dtype == "float32"
    chosen = fastest({plain: [1.0, 1.2, 1.1], mixed: [0.9, 0.5, 0.6]})
    assert chosen.dtype == "bfloat16"
    assert chosen.trial_ms == {"float32": 1100, "bfloat16": 600}


def test_a_choice_is_handed_on_to_the_same_type_of_device_only() -> None:
    chosen = Precision("bfloat16", trial_ms={"float32": 2.0, "bfloat16": 1.0})
    stored = make_recipe(WITH["batch"], TrainingSpec(), precision=chosen).describe()
    assert handed_on(stored, torch.device("cpu")) == chosen
    assert handed_on(stored, torch.device("cuda")) is None
    assert handed_on({}, torch.device("cpu")) is None


def test_short_trainings_are_not_worth_a_trial() -> None:
    # resnet20 on the digits, and resnet56 on CIFAR-10.
    assert not is_worth_a_trial(10_000_000, images=942, epochs=20)
    assert is_worth_a_trial(126_000_000, images=37_500, epochs=5)
