"""How much a layer turns what flows through it."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F

from layerprune.api.catalogue import CriterionInfo

from .base import Criterion, Needs, ScoringContext, Seen, need_equal_widths


class BlockInfluence(Criterion):
    """s_l = 1 - mean over images of cos(x_in, x_out), with a layer's input and output flattened per image.

    After Men et al. 2024 (ShortGPT), equation 1; there the mean runs over tokens. Between 0 (the layer only scales its
    input) and 2. Two zero tensors count as parallel.
    """

    def __init__(self, info: CriterionInfo, context: ScoringContext) -> None:
        super().__init__(info, context)
        need_equal_widths(info, context)
        self.needs = Needs(values=[name for layer in context.layers for name in (layer.entry, layer.exit)])
        self._sums = dict.fromkeys((layer.name for layer in context.layers), 0.0)
        self._images = 0

    def see(self, seen: Seen) -> None:
        count = len(seen.labels)
        self._images += count
        for layer in self.context.layers:
            # What is left of the batch dimension (windows) goes with its image.
            before, after = (seen.values[name].detach().reshape(count, -1) for name in (layer.entry, layer.exit))
            both_zero = ~(before.any(1) | after.any(1))
            cosines = F.cosine_similarity(before, after, dim=1).masked_fill(both_zero, 1.0)
            self._sums[layer.name] += float(cosines.double().sum())

    def layer_scores(self, others: Mapping[str, Mapping[str, float]]) -> dict[str, float]:  # noqa: ARG002
        return {name: 1 - total / self._images for name, total in self._sums.items()}
