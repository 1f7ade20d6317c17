"""How differently the network represents the images without a layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from layerprune.api.catalogue import CriterionInfo

from .base import Criterion, Needs, ScoringContext, Seen, need_equal_widths


class CenteredKernelAlignment(Criterion):
    """s_l = 1 - CKA(A, A_-l), A (N x D) what the last weighted layer reads, A_-l the same with layer l bypassed.

    Linear CKA of Kornblith et al., Similarity of Neural Network Representations Revisited, ICML 2019, equation 3:
    ||A_-l' A||_F^2 / (||A' A||_F ||A_-l' A_-l||_F), each centred over the N images; as a criterion for layers: Pons et
    al., Effective Layer Pruning Through Similarity Metric Perspective, 2024 (arXiv 2405.17081). Features with positions
    are averaged over these; a network without a single last weighted layer is compared by its logits. Where both
    are the same for all images the CKA counts as 1, where one of them is, as 0.

    The features (N x D float32) are kept until the end, in main memory, once per layer and once for the whole network.
    """

    needs = Needs(detours=True)

    def __init__(self, info: CriterionInfo, context: ScoringContext) -> None:
        super().__init__(info, context)
        need_equal_widths(info, context)
        self._whole: list[Tensor] = []
        self._without: dict[str, list[Tensor]] = {layer.name: [] for layer in context.layers}

    def see(self, seen: Seen) -> None:
        self._whole.append(seen.answer.features.detach().cpu())
        for name, answer in seen.without.items():
            self._without[name].append(answer.features.cpu())

    def layer_scores(self, others: Mapping[str, Mapping[str, float]]) -> dict[str, float]:  # noqa: ARG002
        whole = torch.cat(self._whole)
        return {name: 1 - linear_cka(whole, torch.cat(parts)) for name, parts in self._without.items()}


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Return the linear CKA, from 0 to 1, of two sets of features (N x D and N x E) of the same images."""
    one, other = ((features - features.mean(0)).double() for features in (first, second))
    if len(one) <= max(one.shape[1], other.shape[1]):  # the same numbers from the N x N products
        one_alike, other_alike = one @ one.T, other @ other.T
        common, sizes = float((one_alike * other_alike).sum()), float(one_alike.norm() * other_alike.norm())
    else:
        common = float((one.T @ other).square().sum())
        sizes = float((one.T @ one).norm() * (other.T @ other).norm())
    if sizes == 0:
        return float(not one.any() and not other.any())
    return common / sizes
