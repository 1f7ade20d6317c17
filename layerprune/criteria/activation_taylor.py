"""How much the loss leans on the single values of a feature map."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from layerprune.api.catalogue import CriterionInfo

from .base import FilterCriterion, Needs, ScoringContext, Seen
from .units import Unit

_EPSILON = 1e-8


class ActivationTaylor(FilterCriterion):
    """s_f = m_f / (||m||_2 + 1e-8) over a layer's filters, m_f = mean over images and positions of |a dL/da|.

    'Feature maps' of LayerPrune, ACCV 2020; after Molchanov et al., Pruning Convolutional Neural Networks for Resource
    Efficient Inference, ICLR 2017, equations 6 to 8, with the absolute value inside the mean, as in LayerPrune's code.
    a is what `gate_taylor` gates: behind the batch norm, before the activation. L is the cross entropy of one image and
    the division comes once, after the last image; the paper's code divides the sums of each mini-batch, which depends
    on how the images are grouped. A convolution that is called several times counts the mean over its calls.
    """

    def __init__(self, info: CriterionInfo, context: ScoringContext) -> None:
        super().__init__(info, context)
        gates = [gate.node for unit in context.units for gate in unit.gates]
        self.needs = Needs(values=gates, gradients=gates)
        self._sums: dict[str, Tensor] = {}

    def see(self, seen: Seen) -> None:
        for unit in self.context.units:
            for gate in unit.gates:
                channels = gate.channels(seen.product(gate.node), len(seen.labels))
                total = torch.linalg.vector_norm(channels, ord=1, dim=2).sum(0) / channels.shape[2]
                self._sums[unit.name] = self._sums.get(unit.name, 0) + total

    def scores_of(self, unit: Unit) -> Tensor | None:
        # The number of images and of calls falls out of the division.
        if unit.name not in self._sums:
            return None
        sums = self._sums[unit.name]
        return sums / (float(torch.linalg.vector_norm(sums, dtype=torch.double)) + _EPSILON)

    def full_score(self, unit: Unit) -> float:
        return 1 / math.sqrt(unit.weight.shape[0])
