"""What a plan leaves of a network, as far as it can be said before anything is trained or measured."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from layerprune.structure.architecture import architecture_hash
from layerprune.structure.macs import count_params


@dataclass(frozen=True)
class Outcome:
    """What a plan leaves: the architecture's hash, parameters, multiply-accumulates at batch 1."""

    architecture: str
    params: int
    macs: int


def outcome_of(graph: fx.GraphModule) -> Outcome:
    """Describe a graph whose nodes know their multiplications, as after tracing or losing layers."""
    macs = sum(int(node.meta["macs"]) for node in graph.graph.nodes)
    return Outcome(architecture_hash(graph), count_params(graph), macs)
