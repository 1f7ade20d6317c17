"""Tiny networks whose scores can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from layerprune.criteria.base import LayerScore, ScoringContext
from layerprune.structure.layers import Layer
from layerprune.structure.trace import trace

Matrix = Sequence[Sequence[float]]


class Chain(nn.Module):
    """1x1 convolutions a, b, ... on two channels, each followed by a batch norm that changes nothing; then the mean."""

    def __init__(self, matrices: Sequence[Matrix], scales: Sequence[Sequence[float]] | None) -> None:
        super().__init__()
        self.names = "abcdefgh"[: len(matrices)]
        for index, matrix in enumerate(matrices):
            conv = nn.Conv2d(2, 2, 1, bias=False)
            conv.weight = nn.Parameter(torch.tensor(matrix)[:, :, None, None])
            self.add_module(self.names[index], conv)
            if scales is not None:
                norm = nn.BatchNorm2d(2, eps=0)
                norm.weight = nn.Parameter(torch.tensor(scales[index]))
                self.add_module(f"{self.names[index]}_norm", norm)

    def forward(self, x: Tensor) -> Tensor:
        for name in self.names:
            x = self.get_submodule(name)(x)
            if f"{name}_norm" in dict(self.named_children()):
                x = self.get_submodule(f"{name}_norm")(x)
        return x.mean((2, 3))


@pytest.fixture
def chain() -> Callable[..., ScoringContext]:
    """Make a context of a chain with one layer per convolution: `chain([matrix, ...], images=..., labels=...)`.

    Images are N x 2, of one pixel, or N x 2 x H x W. The logits are the last layer's output, averaged over the pixels.
    """

    def make(
        matrices: Sequence[Matrix],
        *,
        scales: Sequence[Sequence[float]] | None = None,
        images: Any = ((1.0, 0.0),),
        labels: Sequence[int] = (0,),
        classes: int = 2,
        seed: int = 0,
        layer_score: LayerScore = "mean",
    ) -> ScoringContext:
        pixels = torch.tensor(images)
        pixels = pixels[:, :, None, None] if pixels.ndim == 2 else pixels
        graph = trace(Chain(matrices, scales).eval(), pixels[:1])
        layers, entry = [], "x"
        for name in "abcdefgh"[: len(matrices)]:
            nodes = (name,) if scales is None else (name, f"{name}_norm")
            layers.append(Layer(name, "conv", entry, nodes[-1], nodes, 4, 4, 0, True, None))
            entry = nodes[-1]
        return ScoringContext(graph, layers, [(pixels, torch.tensor(labels))], classes, seed, layer_score)

    return make
