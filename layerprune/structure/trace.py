"""Trace a network to a graph whose nodes know their shape and their multiplications."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import TensorMetadata
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from layerprune.api.errors import BadInput


class Untraceable(BadInput):
    """The network cannot be written down as a graph."""

    code = "untraceable"
    default_remedy = "Use a network whose forward has no control flow that depends on the values of its input."


class _Tracer(fx.Tracer):
    """Keeps every module whole that owns parameters and has no child that does.

    Tracing through such a module would turn its weights into loose parameters, which nothing can prune consistently.
    """

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        owns = next(m.parameters(recurse=False), None) is not None
        below = any(next(child.parameters(), None) is not None for child in m.children())
        return (owns and not below) or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """Trace ``model``; the graph shares its modules, so that surgery on the graph changes them.

    ``example`` is an input (N, C, H, W); of each node, ``meta["tensor_meta"]`` holds the shape at batch 1 and
    ``meta["macs"]`` the multiplications at batch 1. Control flow on ``training`` is followed as in evaluation; the mode
    of the graph's modules is the model's. Raises Untraceable.
    """
    with evaluating(model):
        tracer = _Tracer()
        try:
            graph = tracer.trace(model)
        except (ValueError, TypeError, RuntimeError, AttributeError, LookupError, AssertionError) as error:
            raise Untraceable(
                f"{type(model).__name__} cannot be traced: {error}", field="model", value=type(model).__name__
            ) from error
        module = fx.GraphModule(tracer.root, graph, type(model).__name__)
        propagate(module, example)
    module.training = model.training
    return module


def propagate(module: fx.GraphModule, example: Tensor) -> None:
    """Write shape and multiplications (MACs) at batch 1 into every node's meta. Raises Untraceable."""
    with evaluating(module), torch.no_grad():
        try:
            _Recorder(module).run(example[:1])
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            shape = list(example.shape[1:])
            raise Untraceable(
                f"the network does not run on an input of shape {shape}: {str(error).splitlines()[0]}",
                field="model.preprocess",
                value=shape,
                remedy="Give the input size and the number of channels that the network was made for.",
            ) from error


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode for a while, and each back into its own mode after."""
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for child, training in modes.items():
            child.training = training


class _Recorder(fx.Interpreter):
    """Runs the graph node by node and notes what comes out and what it cost."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self._counter = FlopCounterMode(display=False)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        fused_attention = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # the counter cannot see into fused attention
        try:
            with self._counter, sdpa_kernel(SDPBackend.MATH):
                return super().run(*args, **kwargs)
        finally:
            torch.backends.mha.set_fastpath_enabled(fused_attention)

    def run_node(self, n: fx.Node) -> Any:
        before = self._counter.get_total_flops()
        result = super().run_node(n)
        n.meta["macs"] = (self._counter.get_total_flops() - before) // 2
        n.meta.pop("tensor_meta", None)
        described = _describe(result)
        if described is not None:
            n.meta["tensor_meta"] = described
        return result


def _describe(result: object) -> Any:
    """The metadata of a tensor, of each tensor in a tuple or list; None for anything else."""
    if isinstance(result, (tuple, list)):
        return tuple(map(_describe, result)) if any(isinstance(part, Tensor) for part in result) else None
    if not isinstance(result, Tensor):
        return None
    return TensorMetadata(
        shape=result.shape,
        dtype=result.dtype,
        requires_grad=result.requires_grad,
        stride=result.stride(),
        memory_format=None,
        is_quantized=result.is_quantized,
        qparams={},
    )
