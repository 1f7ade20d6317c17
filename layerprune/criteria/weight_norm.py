"""Sum of squared weights."""

from __future__ import annotations

from torch import Tensor

from .base import FilterCriterion
from .units import Unit


class WeightNorm(FilterCriterion):
    """s_f = sum_i w_f,i^2: the squared L2 norm, not divided by the fan-in ('weights norm' of LayerPrune, ACCV 2020)."""

    def scores_of(self, unit: Unit) -> Tensor:
        return unit.rows.square().sum(1)

    def full_score(self, unit: Unit) -> float:
        return unit.rows.shape[1]
