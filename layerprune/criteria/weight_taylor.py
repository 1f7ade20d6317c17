"""What the loss changes to first order when single weights go."""

from __future__ import annotations

from torch import Tensor

from layerprune.api.catalogue import CriterionInfo

from .base import FilterCriterion, Needs, ScoringContext, Seen, add_to
from .units import Unit


class WeightTaylor(FilterCriterion):
    """s_f = sum_i (w_f,i g_f,i)^2: squares of the products summed ('weights Taylor' of LayerPrune, ACCV 2020).

    After Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019, equation 8. g is the gradient
    of the mean cross entropy over *all* calibration images. The paper's code squares the gradient of each mini-batch
    and averages the squares, which depends on how the images are grouped; here a batch equals its parts. A convolution
    that is called several times gets the sum of its gradients.
    """

    def __init__(self, info: CriterionInfo, context: ScoringContext) -> None:
        super().__init__(info, context)
        self.needs = Needs(weights=[unit.parameter for unit in context.units])
        self._gradients: dict[str, Tensor] = {}
        self._images = 0

    def see(self, seen: Seen) -> None:
        self._images += len(seen.labels)
        for unit in self.context.units:
            add_to(self._gradients, unit.name, seen.weight_gradients[unit.parameter])

    def scores_of(self, unit: Unit) -> Tensor:
        gradient = self._gradients[unit.name].flatten(1) / self._images
        return (unit.rows * gradient).square().sum(1)

    def full_score(self, unit: Unit) -> float:
        return unit.rows.shape[1]
