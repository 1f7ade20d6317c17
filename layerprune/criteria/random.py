"""The control."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from .base import Criterion


class Random(Criterion):
    """A uniform draw from [0, 1) for every layer and every filter, from the job's seed and the name alone.

    A layer gets a draw of its own, not the mean over its filters: means crowd around one half, the closer the wider the
    layer is, so narrow layers would be removed or kept first and the control would not be one.
    """

    def layer_scores(self, others: Mapping[str, Mapping[str, float]]) -> dict[str, float]:  # noqa: ARG002
        seed = self.context.seed
        return {layer.name: float(_draw(seed, "layer", layer.name, 1)) for layer in self.context.layers}

    def filter_scores(self) -> dict[str, Tensor] | None:
        seed = self.context.seed
        return {unit.name: _draw(seed, "filter", unit.name, len(unit.rows)) for unit in self.context.units}


def _draw(seed: int, kind: str, name: str, count: int) -> Tensor:
    digest = hashlib.sha256(f"{seed}/{kind}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.rand(count, generator=generator)
