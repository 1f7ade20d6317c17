"""What every criterion gets and gives; higher scores are more important."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, fx, nn

from layerprune.api.catalogue import CriterionInfo
from layerprune.api.errors import BadInput
from layerprune.structure.layers import Layer


@dataclass(frozen=True)
class ScoringContext:
    """A traced network, its removable layers and the calibration data; criteria read it and change nothing.

    `batches` holds pairs of normalised images (float N x C x H x W) and labels (int64 N). How the images are grouped
    and ordered must not matter to a criterion.
    """

    graph: fx.GraphModule
    layers: Sequence[Layer]
    batches: Sequence[tuple[Tensor, Tensor]]
    classes: int
    seed: int

    def modules_of(self, layer: Layer) -> list[str]:
        """Return the names of the modules that a layer calls, in forward order, each once."""
        nodes = set(layer.nodes)
        calls = (str(n.target) for n in self.graph.graph.nodes if n.op == "call_module" and n.name in nodes)
        return list(dict.fromkeys(calls))


class Observer(Protocol):
    """Reduces what it sees of the network's values to scores, in one pass over the data."""

    nodes: frozenset[str]
    """Names of the graph nodes whose values it wants."""

    def see(self, values: Mapping[str, Tensor], labels: Tensor, *, held_out: bool) -> None:
        """Take in one batch; all batches of the reference half come before those of the held-out half."""

    def scores(self) -> dict[str, float]:
        """Return one score per layer after the last batch."""


class Criterion(Protocol):
    """One way to say how important layers and filters are."""

    @property
    def info(self) -> CriterionInfo: ...

    def layer_scores(self, context: ScoringContext) -> dict[str, float]:
        """Return one score per layer of the context."""

    def filter_scores(self, context: ScoringContext) -> dict[str, Tensor] | None:
        """Return per convolution one score per filter (its output channels), or None without such a form."""


@dataclass(frozen=True)
class FilterCriterion:
    """A criterion that scores filters, from which the layer's score follows.

    A layer's score is the mean over its filters, as in LayerPrune (ACCV 2020); with several weighted modules in a layer
    it is the mean of their means. Scores are not normalised across layers of different width, also as in the paper.
    """

    info: CriterionInfo

    @abstractmethod
    def score(self, name: str, module: nn.Module, context: ScoringContext) -> Tensor | None:
        """Return the scores of a module's output channels (float C_out), or None if it has nothing to score."""

    def layer_scores(self, context: ScoringContext) -> dict[str, float]:
        result = {}
        for layer in context.layers:
            names = context.modules_of(layer)
            found = [self.score(name, context.graph.get_submodule(name), context) for name in names]
            means = [float(scores.double().mean()) for scores in found if scores is not None]
            if not means:
                raise BadInput(
                    f"{self.info.name} does not apply to the layer {layer.name}: nothing in it has what it scores",
                    field="pruning.criteria",
                    value=self.info.name,
                    remedy="Leave this criterion out for this network.",
                )
            result[layer.name] = sum(means) / len(means)
        return result

    def filter_scores(self, context: ScoringContext) -> dict[str, Tensor] | None:
        result = {}
        for name, module in context.graph.named_modules():
            if isinstance(module, nn.Conv2d):
                scores = self.score(name, module, context)
                if scores is not None:
                    result[name] = scores
        return result or None


def output_rows(module: nn.Module) -> Tensor | None:
    """Return a module's weights as one row per output channel (C_out x rest), or None if it is not a weighted layer.

    Weighted layers are convolutions, linear layers and the input projection of attention.
    """
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
        return module.weight.detach().flatten(1)
    if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
        return module.in_proj_weight.detach()
    return None
