"""Real digits and a small network to train on them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from layerprune.api.dataset import DatasetSpec
from layerprune.api.network import ModelSpec, Preprocess
from layerprune.data.feed import Feed
from layerprune.data.material import load_material
from layerprune.models import build


@pytest.fixture
def digits() -> Callable[..., tuple[Feed, Feed, Feed]]:
    """Give a function that loads the first training images, all validation and all test images."""

    def load(size: int = 8, images: int = 128) -> tuple[Feed, Feed, Feed]:
        preprocess = Preprocess(size=size, mean=[0.3067] * 3, std=[0.3778] * 3)
        material = load_material(ModelSpec(name="cifar:resnet20", preprocess=preprocess), DatasetSpec(name="digits"))
        return material.train.subset(torch.arange(images)), material.validation, material.test

    return load


@pytest.fixture
def small() -> Callable[[], nn.Module]:
    """Give a function that makes a narrow resnet20, always with the same random weights."""
    return lambda: build("cifar:resnet20", classes=10, args={"width": 4}, seed=0)
