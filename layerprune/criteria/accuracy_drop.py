"""What the accuracy loses without a layer."""

from __future__ import annotations

from collections.abc import Mapping

from layerprune.api.catalogue import CriterionInfo

from .base import Answer, Criterion, Needs, ScoringContext, Seen, need_equal_widths


class AccuracyDrop(Criterion):
    """s_l = acc - acc_-l: top-1 accuracy on the calibration images, whole and with layer l bypassed, as fractions.

    Measured as it is: nothing is trained and no batch-norm statistic is estimated anew. Negative where the network is
    better without the layer. With N images scores move in steps of 1 / N, so ties are likely; they go by position.
    """

    needs = Needs(detours=True)

    def __init__(self, info: CriterionInfo, context: ScoringContext) -> None:
        super().__init__(info, context)
        need_equal_widths(info, context)
        self._lost = dict.fromkeys((layer.name for layer in context.layers), 0)
        self._images = 0

    def see(self, seen: Seen) -> None:
        self._images += len(seen.labels)
        whole = _correct(seen.answer, seen)
        for name, answer in seen.without.items():
            self._lost[name] += whole - _correct(answer, seen)

    def layer_scores(self, others: Mapping[str, Mapping[str, float]]) -> dict[str, float]:  # noqa: ARG002
        return {name: lost / self._images for name, lost in self._lost.items()}


def _correct(answer: Answer, seen: Seen) -> int:
    return int((answer.logits.argmax(1) == seen.labels).sum())
