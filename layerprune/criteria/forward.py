"""One forward pass that keeps what was asked for, and takes a detour round every layer from where it would end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from layerprune.structure import operations
from layerprune.structure.layers import Layer

from .base import Answer


class Forward(fx.Interpreter):
    """Runs a graph from ``out_of_place``; the attributes hold what the last run saw.

    A detour recomputes what depends on a layer's exit, with the layer's entry in its place, as soon as all it reads is
    there; nothing before the exit is computed twice. At any time one detour lives, beside the run itself.
    """

    def __init__(
        self,
        sketch: fx.GraphModule,
        *,
        values: Collection[str] = (),
        gradients: Collection[str] = (),
        bypassed: Sequence[Layer] = (),
    ) -> None:
        super().__init__(sketch)
        nodes = {node.name: node for node in sketch.graph.nodes}
        self._features = _last_read(sketch.graph)
        self._wanted = {*values, *gradients, self._features.name}
        self._leaves = set(gradients)
        self._detours = [_Detour(sketch, layer, nodes, self._features) for layer in bypassed]
        self.values: dict[str, Tensor] = {}
        self.without: dict[str, Answer] = {}

    def look(self, images: Tensor) -> Answer:
        """Run the network; gradients flow to the values that were asked for even if no weight needs them."""
        self.values, self.without = {}, {}
        logits = self.run(images)
        features = self.values[self._features.name]
        return Answer(logits, _pooled(features, len(images)))

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self._wanted:
            if n.name in self._leaves and torch.is_grad_enabled() and not value.requires_grad:
                value = value.detach().requires_grad_()
            self.values[n.name] = value
        for detour in self._detours:
            answer = detour.offer(n, value)
            if answer is not None:
                self.without[detour.layer] = answer
        return value


class _Detour(fx.Interpreter):
    """The part of a graph behind a layer's exit, run as if the layer were gone."""

    def __init__(self, sketch: fx.GraphModule, layer: Layer, nodes: dict[str, fx.Node], features: fx.Node) -> None:
        super().__init__(sketch)
        self.layer = layer.name
        self._entry, self._exit, self._features = nodes[layer.entry], nodes[layer.exit], features
        reached = {self._exit}
        self._behind = []
        for node in sketch.graph.nodes:
            if node not in reached and any(source in reached for source in node.all_input_nodes):
                reached.add(node)
                self._behind.append(node)
        reads = {source for node in self._behind for source in node.all_input_nodes} - reached
        self._awaited = reads | {self._entry} | ({features} - reached)

    def offer(self, node: fx.Node, value: Any) -> Answer | None:
        """Take a value of the run; the answer without the layer once all is there that the detour reads."""
        if node not in self._awaited:
            return None
        self.env[node] = value
        if len(self.env) < len(self._awaited):
            return None
        with torch.no_grad():
            return self._answer()

    def _answer(self) -> Answer:
        self.env[self._exit] = self.env[self._entry]
        features = self.env.get(self._features)
        logits = None
        for node in self._behind:
            logits = self.env[node] = self.run_node(node)
            if node is self._features:
                features = logits
            for dead in self.user_to_last_uses.get(node, []):
                self.env.pop(dead, None)
        self.env = {}
        if not isinstance(logits, Tensor) or features is None:
            raise TypeError(f"without layer {self.layer} the graph gives no single tensor")
        return Answer(logits, _pooled(features, len(logits)))


def _last_read(graph: fx.Graph) -> fx.Node:
    """What the single last weighted node reads; else what the network answers."""
    answers = operations.answering(graph)
    if len(answers) == 1 and answers[0].all_input_nodes:
        return answers[0].all_input_nodes[0]
    output: fx.Node = graph.output_node()
    return output.all_input_nodes[0]


def _pooled(value: Tensor, images: int) -> Tensor:
    """One vector per image: maps (N x C x H x W) and tokens (N x L x C) are averaged over their positions."""
    if value.ndim == 4:
        return value.mean((2, 3))
    return value.mean(1) if value.ndim == 3 else value.reshape(images, -1)
