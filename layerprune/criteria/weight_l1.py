"""Sum of absolute weights."""

from __future__ import annotations

from torch import Tensor

from .base import FilterCriterion
from .units import Unit


class WeightL1(FilterCriterion):
    """s_f = sum_i |w_f,i| over all weights of filter f (Li et al., ICLR 2017, section 3.1)."""

    def scores_of(self, unit: Unit) -> Tensor:
        return unit.rows.abs().sum(1)

    def full_score(self, unit: Unit) -> float:
        return unit.rows.shape[1]
