from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from layerprune import models
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace


def hash_of(model: nn.Module, size: int = 8) -> str:
    return architecture_hash(trace(model, torch.zeros(1, 3, size, size)))


class Residual(nn.Module):
    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 3, 1)
        self.two = self.one if shared else nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.two(self.one(x))
        return out


def test_weights_and_names_do_not_count() -> None:
    named = nn.Sequential()
    named.add_module("stem", nn.Conv2d(3, 4, 3))
    named.add_module("act", nn.ReLU(inplace=True))
    assert hash_of(named) == hash_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))


@pytest.mark.parametrize(
    "other",
    [
        nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU()),
        nn.Sequential(nn.Conv2d(3, 4, 3)),
    ],
)
def test_operations_shapes_and_hyper_parameters_count(other: nn.Module) -> None:
    assert hash_of(other) != hash_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))


def test_groups_and_input_size_count() -> None:
    assert hash_of(nn.Conv2d(3, 3, 1)) != hash_of(nn.Conv2d(3, 3, 1, groups=3))
    assert hash_of(nn.Conv2d(3, 3, 1), size=8) != hash_of(nn.Conv2d(3, 3, 1), size=9)


def test_what_acts_in_training_only_does_not_count() -> None:
    dropping = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.3), nn.ReLU(), nn.Identity())
    assert hash_of(dropping) == hash_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))


def test_shared_weights_count() -> None:
    assert hash_of(Residual(shared=True)) != hash_of(Residual(shared=False))


def test_mode_does_not_count() -> None:
    model = models.build("cifar:resnet20", classes=10)
    assert hash_of(model.train()) == hash_of(model.eval())


def test_either_of_two_equal_blocks_leaves_the_same_architecture() -> None:
    images = torch.zeros(1, 3, 16, 16)
    base = trace(models.build("cifar:resnet20", classes=10), images)
    left = {}
    for block in ("layer1.0", "layer1.1", "layer2.1"):
        plan = Plan("layer", "test", architecture_hash(base), remove=(block,))
        left[block] = architecture_hash(apply_plan_(copy.deepcopy(base), plan, images))
    assert left["layer1.0"] == left["layer1.1"] != left["layer2.1"]
