"""How much a layer turns what flows through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from layerprune.structure.layers import Layer

from .base import Observer, ScoringContext
from .observation import DataCriterion


class BlockInfluence(DataCriterion):
    """s_l = 1 - mean over images of cos(x_in, x_out), with a layer's input and output flattened per image.

    After Men et al. 2024 (ShortGPT), equation 1; there the mean runs over tokens. Between 0 (the layer only scales its
    input) and 2. Two zero tensors count as parallel.
    """

    def observer(self, context: ScoringContext) -> Observer:
        return _Cosines(context.layers)


class _Cosines:
    def __init__(self, layers: Sequence[Layer]) -> None:
        self.nodes = frozenset(name for layer in layers for name in (layer.entry, layer.exit))
        self._layers = layers
        self._sums = dict.fromkeys((layer.name for layer in layers), 0.0)
        self._images = 0

    def see(self, values: Mapping[str, Tensor], labels: Tensor, *, held_out: bool) -> None:  # noqa: ARG002
        self._images += len(labels)
        for layer in self._layers:
            before, after = values[layer.entry].flatten(1).double(), values[layer.exit].flatten(1).double()
            cosines = F.cosine_similarity(before, after, dim=1)
            both_zero = (before == 0).all(1) & (after == 0).all(1)
            self._sums[layer.name] += float(torch.where(both_zero, 1.0, cosines).sum())

    def scores(self) -> dict[str, float]:
        return {name: 1 - total / self._images for name, total in self._sums.items()}
