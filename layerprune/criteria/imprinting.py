"""What a layer adds to the accuracy of a classifier that needs no training."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from layerprune.api.errors import BadInput

from .base import Observer, ScoringContext
from .observation import DataCriterion

_EMBEDDING = 2048
"""Wanted length of an embedding, the value of the authors' code for residual networks."""


class Imprinting(DataCriterion):
    """I_l = acc_l - acc_{l-1}: the rise of the proxy accuracy from a layer's input to its output (ACCV and ICIP 2020).

    The proxy at a node: its value (N x C x H x W) averaged to C x d x d with d = round(sqrt(2048 / C)), at least 1 and
    at most the map's size; the prototype of a class is the mean embedding of its images, divided by its L2 norm
    (imprinted weights, Qi, Brown, Lowe, CVPR 2018); the answer is the prototype with the largest inner product.

    Prototypes come from one half of the calibration images of every class and the accuracy from the other half; the
    authors' code measured it on the test set. acc_{l-1} is taken at the layer's input, which in a residual network is
    the output of the block before, removable or not. As in the authors' code the accuracy before the first candidate
    counts as 0, so the first candidate has its whole accuracy as its score and goes last.
    """

    def observer(self, context: ScoringContext) -> Observer:
        return _Proxies(context)


class _Proxies:
    def __init__(self, context: ScoringContext) -> None:
        self._layers, self._classes = context.layers, context.classes
        self.nodes = frozenset(name for layer in context.layers for name in (layer.entry, layer.exit))
        _need_two_per_class(torch.cat([labels for _, labels in context.batches]), context.classes)
        self._sums: dict[str, Tensor] = {}
        self._prototypes: dict[str, Tensor] = {}
        self._correct = dict.fromkeys(self.nodes, 0)
        self._held_out = 0

    def see(self, values: Mapping[str, Tensor], labels: Tensor, *, held_out: bool) -> None:
        if held_out and not self._prototypes:
            # The division by the class's count is left out: the L2 norm that follows cancels it.
            self._prototypes = {name: F.normalize(sums, dim=1) for name, sums in self._sums.items()}
        for name in self.nodes:
            embedding = embed(values[name]).double()
            if held_out:
                self._correct[name] += int(((embedding @ self._prototypes[name].T).argmax(1) == labels).sum())
            else:
                sums = self._sums.setdefault(name, torch.zeros(self._classes, embedding.shape[1], dtype=torch.double))
                sums.index_add_(0, labels, embedding)
        self._held_out += len(labels) if held_out else 0

    def scores(self) -> dict[str, float]:
        accuracy = {name: correct / self._held_out for name, correct in self._correct.items()}
        first = self._layers[0].entry if self._layers else ""
        return {
            layer.name: accuracy[layer.exit] - (0.0 if layer.entry == first else accuracy[layer.entry])
            for layer in self._layers
        }


def embed(value: Tensor) -> Tensor:
    """Reduce a layer's output to one vector per image (N x E); tokens (N x L x C) are averaged, vectors stay."""
    if value.ndim == 4:
        channels, height, width = value.shape[1:]
        side = max(1, min(round(math.sqrt(_EMBEDDING / channels)), height, width))
        return F.adaptive_avg_pool2d(value, side).flatten(1)
    return value.mean(1) if value.ndim == 3 else value.flatten(1)


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
