"""One pass over the calibration data for all criteria that look at it."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from layerprune.api.catalogue import CriterionInfo
from layerprune.structure.trace import evaluating

from . import get
from .base import Observer, ScoringContext


@dataclass(frozen=True)
class DataCriterion:
    """A criterion that looks at the values inside the network; it has no filter form."""

    info: CriterionInfo

    @abstractmethod
    def observer(self, context: ScoringContext) -> Observer:
        """Return what watches one pass over the data for this criterion."""

    def layer_scores(self, context: ScoringContext) -> dict[str, float]:
        observer = self.observer(context)
        observe(context, [observer])
        return observer.scores()

    def filter_scores(self, context: ScoringContext) -> dict[str, Tensor] | None:  # noqa: ARG002
        return None


@dataclass(frozen=True)
class Scores:
    """Scores by criterion: per layer, and per convolution and filter where the criterion has that form."""

    layers: dict[str, dict[str, float]]
    filters: dict[str, dict[str, Tensor]]


def score_all(names: Sequence[str], context: ScoringContext, *, checkpoint: Callable[[], None] | None = None) -> Scores:
    """Compute every named criterion; those that need data share one forward pass. Raises UnknownName and BadInput."""
    criteria = {name: get(name) for name in names}
    observers = {name: c.observer(context) for name, c in criteria.items() if isinstance(c, DataCriterion)}
    observe(context, list(observers.values()), checkpoint=checkpoint)
    layers, filters = {}, {}
    for name, criterion in criteria.items():
        layers[name] = observers[name].scores() if name in observers else criterion.layer_scores(context)
        found = criterion.filter_scores(context)
        if found is not None:
            filters[name] = found
    return Scores(layers, filters)


def observe(
    context: ScoringContext, observers: Sequence[Observer], *, checkpoint: Callable[[], None] | None = None
) -> None:
    """Show every calibration image once to all observers, the reference half first, then the held-out half."""
    if not observers or not context.layers:
        return
    wanted = frozenset().union(*(observer.nodes for observer in observers))
    with evaluating(context.graph), torch.no_grad():
        for images, labels, held_out in _halves(context.batches):
            if checkpoint is not None:
                checkpoint()
            recorder = _Recorder(context.graph, wanted)
            recorder.run(images)
            for observer in observers:
                observer.see(recorder.values, labels, held_out=held_out)


class _Recorder(fx.Interpreter):
    def __init__(self, graph: fx.GraphModule, wanted: frozenset[str]) -> None:
        super().__init__(graph)
        self._wanted = wanted
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self._wanted:
            # A copy, because an activation behind the node may work in place.
            self.values[n.name] = value.clone()
        return value


def _halves(batches: Sequence[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """Split the images of every class in two halves by their content, so that neither order nor grouping matters."""
    keys = [
        (int(label), hashlib.sha256(image.contiguous().numpy().tobytes()).digest(), (index, position))
        for index, (images, labels) in enumerate(batches)
        for position, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    held_out: set[tuple[int, int]] = set()
    rank: dict[int, int] = {}
    for label, _, place in sorted(keys):
        if rank.setdefault(label, 0) % 2:
            held_out.add(place)
        rank[label] += 1
    for half in (False, True):
        for index, (images, labels) in enumerate(batches):
            chosen = torch.tensor([((index, i) in held_out) == half for i in range(len(labels))])
            if chosen.any():
                yield images[chosen], labels[chosen], half
