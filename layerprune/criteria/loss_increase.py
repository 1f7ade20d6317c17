"""What the loss gains without a layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F

from layerprune.api.catalogue import CriterionInfo

from .base import Answer, Criterion, Needs, ScoringContext, Seen, need_equal_widths


class LossIncrease(Criterion):
    """s_l = L_-l - L: mean cross entropy in nats over the calibration images, with layer l bypassed and whole.

    Leave one out on the loss instead of the accuracy, so that it tells layers apart that change no answer; these are
    the costs that budgets are made of (docs/pruning.md). Measured as it is: nothing is trained and no batch-norm
    statistic is estimated anew.
    """

    needs = Needs(detours=True)

    def __init__(self, info: CriterionInfo, context: ScoringContext) -> None:
        super().__init__(info, context)
        need_equal_widths(info, context)
        self._gained = dict.fromkeys((layer.name for layer in context.layers), 0.0)
        self._images = 0

    def see(self, seen: Seen) -> None:
        self._images += len(seen.labels)
        whole = _loss(seen.answer, seen)
        for name, answer in seen.without.items():
            self._gained[name] += _loss(answer, seen) - whole

    def layer_scores(self, others: Mapping[str, Mapping[str, float]]) -> dict[str, float]:  # noqa: ARG002
        return {name: gained / self._images for name, gained in self._gained.items()}


def _loss(answer: Answer, seen: Seen) -> float:
    return float(F.cross_entropy(answer.logits.double(), seen.labels, reduction="sum"))
