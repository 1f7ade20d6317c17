"""Scale of the batch norm behind a convolution."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .base import FilterCriterion, ScoringContext


class BatchNormScale(FilterCriterion):
    """s_f = |gamma_f| of the batch norm that follows the convolution (network slimming, Liu et al., ICCV 2017).

    Convolutions without a batch norm right behind them, and norms without a scale, have no score.
    """

    def score(self, name: str, module: nn.Module, context: ScoringContext) -> Tensor | None:
        if not isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            return None
        for node in context.graph.graph.nodes:
            if node.op != "call_module" or node.target != name:
                continue
            for user in node.users:
                norm = context.graph.get_submodule(str(user.target)) if user.op == "call_module" else None
                if isinstance(norm, _BatchNorm) and norm.weight is not None:
                    return norm.weight.detach().abs()
        return None
