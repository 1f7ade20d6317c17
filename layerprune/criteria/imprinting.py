"""What a layer adds to the accuracy of a classifier that needs no training."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from layerprune.api.catalogue import CriterionInfo
from layerprune.api.errors import BadInput
from layerprune.structure.layers import Layer

from .base import Criterion, Needs, ScoringContext, Seen

_EMBEDDING = 2048
"""Wanted length of an embedding, the value of the authors' code for residual networks."""


class Imprinting(Criterion):
    """I_l = acc_l - acc_{l-1}: the rise of the proxy accuracy from a layer's input to its output (ACCV and ICIP 2020).

    The proxy at a node: its value (N x C x H x W) averaged to C x d x d with d = round(sqrt(2048 / C)), at least 1 and
    at most the map's size; the prototype of a class is the mean embedding of its images, divided by its L2 norm
    (imprinted weights, Qi, Brown, Lowe, CVPR 2018); the answer is the prototype with the largest inner product.

    Prototypes come from one half of the calibration images of every class and the accuracy from the other half; the
    authors' code measured it on the test set. acc_{l-1} is taken at the layer's input, which in a residual network is
    the output of the block before, removable or not. As in the authors' code the accuracy before the first candidate
    counts as 0, so the first candidate has its whole accuracy as its score and goes last.
    """

    def __init__(self, info: CriterionInfo, context: ScoringContext) -> None:
        super().__init__(info, context)
        self._nodes = list(dict.fromkeys(name for layer in context.layers for name in (layer.entry, layer.exit)))
        self.needs = Needs(values=self._nodes, split=True)
        _need_two_per_class(context.content.labels, context.classes)
        self._last = {
            name for layer in context.layers if _channels_last(context, layer) for name in (layer.entry, layer.exit)
        }
        self._sums: dict[str, Tensor] = {}
        self._prototypes: dict[str, Tensor] = {}
        self._correct = dict.fromkeys(self._nodes, 0)
        self._held_out = 0

    def see(self, seen: Seen) -> None:
        if seen.held_out and not self._prototypes:
            # The division by the class's count is left out: the L2 norm that follows cancels it.
            self._prototypes = {name: F.normalize(sums, dim=1) for name, sums in self._sums.items()}
        self._held_out += len(seen.labels) if seen.held_out else 0
        for name in self._nodes:
            embedding = embed(seen.values[name], channels_last=name in self._last).double()
            if seen.held_out:
                answers = (embedding @ self._prototypes[name].T).argmax(1)
                self._correct[name] += int((answers == seen.labels).sum())
            else:
                if name not in self._sums:
                    self._sums[name] = embedding.new_zeros(self.context.classes, embedding.shape[1])
                self._sums[name].index_add_(0, seen.labels, embedding)

    def layer_scores(self, others: Mapping[str, Mapping[str, float]]) -> dict[str, float]:  # noqa: ARG002
        accuracy = {name: correct / self._held_out for name, correct in self._correct.items()}
        first = self.context.layers[0].entry if self.context.layers else ""
        return {
            layer.name: accuracy[layer.exit] - (0.0 if layer.entry == first else accuracy[layer.entry])
            for layer in self.context.layers
        }


def embed(value: Tensor, *, channels_last: bool = False) -> Tensor:
    """Reduce a layer's output to one vector per image (N x E); tokens (N x L x C) are averaged, vectors stay.

    Maps are N x C x H x W, or N x H x W x C with ``channels_last``.
    """
    if value.ndim == 4:
        if channels_last:
            value = value.movedim(-1, 1)
        channels, height, width = value.shape[1:]
        side = max(1, min(round(math.sqrt(_EMBEDDING / channels)), height, width))
        return F.adaptive_avg_pool2d(value, side).flatten(1)
    return value.mean(1) if value.ndim == 3 else value.flatten(1)


def _channels_last(context: ScoringContext, layer: Layer) -> bool:
    """Whether a layer's maps have their channels last: its last weighted operation says how many there are."""
    shape = next(n for n in context.graph.graph.nodes if n.name == layer.exit).meta["tensor_meta"].shape
    widths = [unit.weight.shape[0] for unit in context.units_of(layer) if unit.gates]
    return len(shape) == 4 and bool(widths) and shape[1] != widths[-1] == shape[-1]


def _need_two_per_class(labels: Tensor, classes: int) -> None:
    counts = torch.bincount(labels, minlength=classes)
    lacking = [index for index in range(classes) if counts[index] < 2]
    if lacking:
        raise BadInput(
            f"imprinting needs at least 2 calibration images of every class; class {lacking[0]} has "
            f"{int(counts[lacking[0]])} ({len(labels)} images for {classes} classes)",
            field="dataset",
            value=len(labels),
            remedy="Use a larger data set, or leave imprinting out.",
        )
