"""What the loss changes to first order when a whole channel goes."""

from __future__ import annotations

from torch import Tensor

from layerprune.api.catalogue import CriterionInfo

from .base import FilterCriterion, Needs, ScoringContext, Seen
from .units import Unit


class GateTaylor(FilterCriterion):
    """s_f = mean over images of (z_f dL/dz_f)^2 at a gate z_f = 1 that multiplies the channel (Taylor-FO-BN).

    Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019, equation 8 at a gate behind the batch
    norm; 'gate Taylor' of LayerPrune, ACCV 2020. No gate is put in: a gate scales what passes it, so dL/dz_f is the sum
    of a dL/da over the channel's positions a. The gate stands behind the batch norm and before the activation; behind
    both where they are one module, and behind the operation itself where no batch norm follows.

    L is the cross entropy of one image. The paper's code squares the gradient of a mini-batch's mean instead, which
    depends on how the images are grouped; per image, a batch equals its parts. Its division by fixed numbers per stage
    is left out. A convolution that is called several times has one gate, seen by every call.
    """

    def __init__(self, info: CriterionInfo, context: ScoringContext) -> None:
        super().__init__(info, context)
        gates = [gate.node for unit in context.units for gate in unit.gates]
        self.needs = Needs(values=gates, gradients=gates)
        self._sums: dict[str, Tensor] = {}
        self._images = 0

    def see(self, seen: Seen) -> None:
        count = len(seen.labels)
        self._images += count
        for unit in self.context.units:
            slopes = [gate.channels(seen.product(gate.node), count).sum(2) for gate in unit.gates]
            if slopes:
                total = sum(slopes[1:], slopes[0]).square().sum(0)
                self._sums[unit.name] = self._sums.get(unit.name, 0) + total

    def scores_of(self, unit: Unit) -> Tensor | None:
        return self._sums[unit.name] / self._images if unit.name in self._sums else None
