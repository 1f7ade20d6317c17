"""Scale of the batch norm behind a convolution."""

from __future__ import annotations

from torch import Tensor

from .base import FilterCriterion
from .units import Unit


class BatchNormScale(FilterCriterion):
    """s_f = |gamma_f| of the batch norm that follows the convolution (network slimming, Liu et al., ICCV 2017).

    Convolutions and linear layers without a batch norm right behind them, and norms without a scale, have no score.
    """

    def scores_of(self, unit: Unit) -> Tensor | None:
        return None if unit.norm is None or unit.norm.weight is None else unit.norm.weight.detach().abs()
