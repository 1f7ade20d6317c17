"""What several criteria say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from layerprune.api.catalogue import CriterionInfo

from .base import Criterion

DEFAULT_MEMBERS = ("weight_norm", "weight_taylor", "activation_taylor", "gate_taylor", "block_influence")
"""What an ensemble rests on when nothing else is asked for: criteria that apply to every network and data set."""


class Ensemble(Criterion):
    """s_l = sum over criteria of the layer's rank in ascending order, 0 the least important (LayerPrune, ACCV 2020).

    The criteria are all others that are asked for, without the control; if there are none, `DEFAULT_MEMBERS`. Equal
    scores are ranked by position, the earlier layer lower.
    """

    @staticmethod
    def rests_on(requested: Sequence[CriterionInfo]) -> list[str]:
        others = [info.name for info in requested if info.name != "ensemble" and not info.is_control]
        return others or list(DEFAULT_MEMBERS)

    def layer_scores(self, others: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        names = [layer.name for layer in self.context.layers]
        sums = dict.fromkeys(names, 0.0)
        for scores in others.values():
            for rank, name in enumerate(sorted(names, key=lambda name: scores[name])):
                sums[name] += rank
        return sums
