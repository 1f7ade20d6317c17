"""What every criterion gets and gives; higher scores are more important."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from torch import Tensor, fx

from layerprune.api.catalogue import CriterionInfo
from layerprune.api.errors import BadInput
from layerprune.structure.layers import Layer

from .content import Content, read_content
from .units import Unit, find_units

LayerScore = Literal["mean", "normalised"]


@dataclass(frozen=True)
class ScoringContext:
    """A traced network, its removable layers and the calibration data; criteria read it and change nothing.

    ``batches`` holds pairs of normalised images (float N x C x H x W) and labels (int64 N); every pass iterates
    it anew, so it may load them as it goes. How the images are grouped and ordered must not matter to a criterion.
    """

    graph: fx.GraphModule
    layers: Sequence[Layer]
    batches: Sequence[tuple[Tensor, Tensor]]
    classes: int
    seed: int
    layer_score: LayerScore = "mean"

    @cached_property
    def units(self) -> list[Unit]:
        """The weighted operations, in forward order."""
        return find_units(self.graph)

    @cached_property
    def content(self) -> Content:
        """What the images' content decides about them; reads all of them once."""
        return read_content(self.batches)

    def units_of(self, layer: Layer) -> list[Unit]:
        """The weighted operations inside a layer, in forward order."""
        inside = set(layer.nodes)
        return [unit for unit in self.units if inside.intersection(unit.nodes)]


@dataclass(frozen=True)
class Needs:
    """What a criterion wants to be shown: values and gradients by graph node, gradients of weights by parameter."""

    values: Collection[str] = ()
    gradients: Collection[str] = ()
    weights: Collection[str] = ()
    detours: bool = False
    split: bool = False

    def __bool__(self) -> bool:
        return self.detours or any((self.values, self.gradients, self.weights))


@dataclass(frozen=True)
class Answer:
    """What the network says: ``logits`` (N x classes), and ``features`` (N x D) that its last weighted layer reads."""

    logits: Tensor
    features: Tensor


@dataclass(frozen=True)
class Seen:
    """One group of N images in the network. Gradients are those of the sum of the images' cross entropies.

    ``values`` and ``gradients`` are by graph node; an image's own gradient is its part, because in evaluation mode
    images do not influence each other. ``without`` has the answer with each layer bypassed, by layer. With
    ``Needs.split``, all images of the reference half come before the first with ``held_out``, and ``drawn`` marks the
    images (bool N) of a small fixed sample.
    """

    labels: Tensor
    answer: Answer
    values: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    weight_gradients: Mapping[str, Tensor]
    without: Mapping[str, Answer]
    held_out: bool
    drawn: Tensor
    _products: dict[str, Tensor] = field(default_factory=dict)

    def product(self, node: str) -> Tensor:
        """Return value times gradient at a node; criteria share it, so it is not to be written to."""
        if node not in self._products:
            self._products[node] = self.values[node] * self.gradients[node]
        return self._products[node]


class Criterion(ABC):
    """One way to say how important layers and filters are; an instance lives for one pass over the data."""

    needs = Needs()

    def __init__(self, info: CriterionInfo, context: ScoringContext) -> None:
        self.info = info
        self.context = context

    @staticmethod
    def rests_on(requested: Sequence[CriterionInfo]) -> list[str]:  # noqa: ARG004
        """Name the criteria whose layer scores this one is made of."""
        return []

    def see(self, seen: Seen) -> None:  # noqa: B027
        """Take in one group of images; a criterion that needs none leaves this as it is."""

    @abstractmethod
    def layer_scores(self, others: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Return one score per layer after the last image; ``others`` holds what ``rests_on`` names."""

    def filter_scores(self) -> dict[str, Tensor] | None:
        """Return by unit one score per output channel (C_out), or None without such a form."""
        return None


def need_equal_widths(info: CriterionInfo, context: ScoringContext) -> None:
    """Raise BadInput if a layer changes the width: its input cannot stand for its output."""
    for layer in context.layers:
        if layer.rebuilds is not None:
            raise BadInput(
                f"{info.name} does not apply to the layer {layer.name}, which changes the number of channels: what "
                "follows cannot read its input",
                field="pruning.criteria",
                value=info.name,
                remedy="Leave this criterion out, or set pruning.layers.width_changing to false.",
            )


class FilterCriterion(Criterion):
    """A criterion that scores filters, from which the layer's score follows.

    A layer's score is the mean over its filters, as in LayerPrune (ACCV 2020); with several weighted operations in a
    layer it is the mean of their means. With ``layer_score="normalised"`` each operation's mean is first divided by its
    ``full_score``: what its filters would score if every term of the formula were one. That makes layers of different
    width comparable; the plain mean is the default because it is what the paper's results rest on.
    """

    @abstractmethod
    def scores_of(self, unit: Unit) -> Tensor | None:
        """Return the scores of a unit's output channels (C_out), or None if it has nothing to score."""

    def full_score(self, unit: Unit) -> float:  # noqa: ARG002
        """Return the score of a filter of this unit whose terms are all one."""
        return 1.0

    @cached_property
    def _scores(self) -> dict[str, Tensor]:
        found = ((unit.name, self.scores_of(unit)) for unit in self.context.units)
        return {name: scores.detach().float().cpu() for name, scores in found if scores is not None}

    def layer_scores(self, others: Mapping[str, Mapping[str, float]]) -> dict[str, float]:  # noqa: ARG002
        result = {}
        for layer in self.context.layers:
            means = []
            for unit in self.context.units_of(layer):
                if unit.name in self._scores:
                    scale = self.full_score(unit) if self.context.layer_score == "normalised" else 1.0
                    means.append(float(self._scores[unit.name].double().mean()) / scale)
            if not means:
                raise self.does_not_apply(layer)
            result[layer.name] = sum(means) / len(means)
        return result

    def filter_scores(self) -> dict[str, Tensor] | None:
        return self._scores or None

    def does_not_apply(self, layer: Layer) -> BadInput:
        """The error for a layer in which nothing has a score."""
        lacks = (
            "no convolution or linear layer with a batch norm behind it"
            if self.info.needs_batch_norm
            else ("nothing that it could score")
        )
        return BadInput(
            f"{self.info.name} does not apply to the layer {layer.name}, which has {lacks}",
            field="pruning.criteria",
            value=self.info.name,
            remedy="Leave this criterion out for this network.",
        )


def add_to(sums: dict[str, Tensor], name: str, part: Tensor) -> None:
    """Add a group's part to a running sum, in place from the second on; the first is kept, not copied."""
    if name in sums:
        sums[name].add_(part)
    else:
        sums[name] = part
