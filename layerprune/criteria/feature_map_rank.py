"""How many independent rows a feature map has."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from layerprune.api.catalogue import CriterionInfo
from layerprune.structure import operations

from .base import FilterCriterion, Needs, ScoringContext, Seen
from .units import Gate, Unit


class FeatureMapRank(FilterCriterion):
    """s_f = mean over images of the rank of the filter's H x W feature map (Lin et al., HRank, CVPR 2020, equation 4).

    The map is taken behind the batch norm and the activation that follow the convolution, as in the authors' code. A
    singular value counts if it exceeds max(H, W) times float32's epsilon times the largest. Ranks hardly depend on the
    images (HRank, section 3.2) and singular values are slow, so a sample of at most 32 calibration images is used that
    the images' content decides: the same ones in whatever order they come. Linear layers have no maps and no score.
    """

    def __init__(self, info: CriterionInfo, context: ScoringContext) -> None:
        super().__init__(info, context)
        nodes = {node.name: node for node in context.graph.graph.nodes}
        self._maps: dict[str, list[str]] = {}
        for unit in context.units:
            maps = [_behind_activation(nodes[gate.node]) for gate in unit.gates if _is_map(nodes[gate.node], gate)]
            if maps:
                self._maps[unit.name] = maps
        self._sides = {name: min(nodes[maps[0]].meta["tensor_meta"].shape[2:]) for name, maps in self._maps.items()}
        self.needs = Needs(values=[name for maps in self._maps.values() for name in maps], split=True)
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def see(self, seen: Seen) -> None:
        if not bool(seen.drawn.any()):
            return
        self._count += int(seen.drawn.sum())
        for name, maps in self._maps.items():
            for node in maps:
                ranks = torch.linalg.matrix_rank(seen.values[node][seen.drawn]).double().sum(0)
                self._sums[name] = self._sums.get(name, 0) + ranks / len(maps)

    def scores_of(self, unit: Unit) -> Tensor | None:
        return self._sums[unit.name] / self._count if unit.name in self._sums else None

    def full_score(self, unit: Unit) -> float:
        return float(self._sides[unit.name])


def _is_map(node: fx.Node, gate: Gate) -> bool:
    return gate.channel_dim == 1 and len(node.meta["tensor_meta"].shape) == 4


def _behind_activation(node: fx.Node) -> str:
    """The name of the activation that alone reads a node, or of the node."""
    users = list(node.users)
    return users[0].name if len(users) == 1 and operations.is_elementwise(users[0]) else node.name
