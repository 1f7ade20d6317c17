"""One sentence says what can go and why the rest stays."""

from __future__ import annotations

import torch
import torchvision
from torch import nn

from layerprune.structure.layers import find_layers
from layerprune.structure.reasons import why_the_rest_stays
from layerprune.structure.trace import trace


def sentence(model: nn.Module, size: int) -> str:
    graph = trace(model.eval(), torch.zeros(1, 3, size, size))
    return why_the_rest_stays(graph, [layer for layer in find_layers(graph) if layer.default])


def test_a_network_that_grows_by_concatenation_says_so() -> None:
    # 4 dense blocks; a stem and 3 transitions; the classifier
    assert sentence(torchvision.models.densenet121(), 64) == (
        "no layer can go: of the other blocks from input to output, "
        "4 join new channels to their input by concatenation, "
        "4 change the number of channels or the size of their input, 1 computes the answer"
    )


def test_layers_that_can_go_are_counted() -> None:
    # a stem and the first blocks of three stages
    assert sentence(torchvision.models.resnet18(), 64) == (
        "5 layers can go: of the other blocks from input to output, "
        "4 change the number of channels or the size of their input, 1 computes the answer"
    )


def test_finer_units_are_named() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 2, 1))
    assert "1 keeps its shape but is, or holds, a finer unit (on request)" in sentence(model, 8)
