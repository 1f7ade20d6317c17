"""The control."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from layerprune.api.catalogue import CriterionInfo

from .base import ScoringContext


@dataclass(frozen=True)
class Random:
    """A uniform draw from [0, 1) for every layer and every filter, from the job's seed and the name alone.

    A layer gets a draw of its own, not the mean over its filters: means crowd around one half, the closer the wider the
    layer is, so narrow layers would be removed or kept first and the control would not be one.
    """

    info: CriterionInfo

    def layer_scores(self, context: ScoringContext) -> dict[str, float]:
        return {layer.name: float(_draw(context.seed, "layer", layer.name, 1)) for layer in context.layers}

    def filter_scores(self, context: ScoringContext) -> dict[str, Tensor] | None:
        return {
            name: _draw(context.seed, "filter", name, module.out_channels)
            for name, module in context.graph.named_modules()
            if isinstance(module, nn.Conv2d)
        }


def _draw(seed: int, kind: str, name: str, count: int) -> Tensor:
    digest = hashlib.sha256(f"{seed}/{kind}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.rand(count, generator=generator)
