"""Count what a network costs on paper: multiply-accumulates and parameters."""

from __future__ import annotations

from torch import Tensor, fx, nn

from .trace import propagate, trace


def count(model: nn.Module, example: Tensor) -> int:
    """Multiply-accumulates of one forward pass at batch 1: convolutions and matrix products, as torch counts them."""
    if isinstance(model, fx.GraphModule):
        propagate(model, example)
        graph = model
    else:
        graph = trace(model, example)
    return sum(node.meta["macs"] for node in graph.graph.nodes)


def count_params(model: nn.Module) -> int:
    """Elements of all parameters; batch norm's running statistics are no parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
