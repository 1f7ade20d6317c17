"""Sum of squared weights."""

from __future__ import annotations

from torch import Tensor, nn

from .base import FilterCriterion, ScoringContext, output_rows


class WeightNorm(FilterCriterion):
    """s_f = sum_i w_f,i^2: the squared L2 norm, not divided by the fan-in ('weights norm' of LayerPrune, ACCV 2020)."""

    def score(self, name: str, module: nn.Module, context: ScoringContext) -> Tensor | None:  # noqa: ARG002
        rows = output_rows(module)
        return None if rows is None else rows.square().sum(1)
