"""Sum of absolute weights."""

from __future__ import annotations

from torch import Tensor, nn

from .base import FilterCriterion, ScoringContext, output_rows


class WeightL1(FilterCriterion):
    """s_f = sum_i |w_f,i| over all weights of filter f (Li et al., ICLR 2017, section 3.1)."""

    def score(self, name: str, module: nn.Module, context: ScoringContext) -> Tensor | None:  # noqa: ARG002
        rows = output_rows(module)
        return None if rows is None else rows.abs().sum(1)
