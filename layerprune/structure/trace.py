"""Trace a network to a graph whose nodes know their shape and their multiplications."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import TensorMetadata
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from layerprune.api.errors import BadInput

from .tracer import KnowingTracer, Undecidable

_FAILURES = (ValueError, TypeError, RuntimeError, AttributeError, LookupError, AssertionError, NotImplementedError)
_TOLERANCE = 1e-2
"""Largest accepted max|graph - model| / max|model|; the same operations on one image or two differ by rounding only."""
_TINY = 1e-30


class Untraceable(BadInput):
    """The network cannot be written down as a graph."""

    code = "untraceable"
    default_remedy = "Use a network whose forward has no control flow that depends on the values of its input."


def trace(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """Trace ``model``; the graph shares its modules, so that surgery on the graph changes them.

    ``example`` is an input (N, C, H, W); of each node, ``meta["tensor_meta"]`` holds the shape at batch 1,
    ``meta["macs"]`` the multiplications at batch 1, and ``meta["passes"]`` whether it is a module that gives back what
    it gets. Control flow on ``training`` is followed as in evaluation, control
    flow on sizes as for this example at any batch; the mode of the graph's modules is the model's. Raises Untraceable.
    """
    _check_inputs(model)
    images = example[:1]
    with evaluating(model), torch.no_grad():
        try:
            expected = model(images)  # what a forward keeps from its first call (masks, positions) is then there
        except _FAILURES as error:
            raise _does_not_run(example, error) from error
        _check_output(model, expected)
        tracer = KnowingTracer(images)
        try:
            graph = tracer.trace(model)
        except (Undecidable, *_FAILURES) as error:
            raise _untraceable(model, f"cannot be traced: {error}") from error
        module = fx.GraphModule(tracer.root, graph, type(model).__name__)
        _check_same(model, propagate(module, example), expected)
        if tracer.decided:
            try:
                twice = module(images.repeat(2, 1, 1, 1))
            except _FAILURES:
                twice = None
            _check_same(model, twice, expected.repeat(2, *[1] * (expected.ndim - 1)))
    module.training = model.training
    return module


def _check_inputs(model: nn.Module) -> None:
    parameters = inspect.signature(model.forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind in positional]
    if len(needed) != 1:
        inputs = f"takes {len(needed)} inputs ({', '.join(needed)}), not one batch of images"
        raise _untraceable(model, inputs, "Wrap the network in a module whose forward takes one tensor (N, C, H, W).")


def _check_output(model: nn.Module, answer: object) -> None:
    if not isinstance(answer, Tensor):
        count = f"{len(answer)} outputs in a " if isinstance(answer, (tuple, list, dict)) else "a "
        gives = f"gives {count}{type(answer).__name__}, not one tensor"
        raise _untraceable(model, gives, "Wrap the network in a module whose forward returns the logits alone.")


def _check_same(model: nn.Module, answer: object, expected: Tensor) -> None:
    """Raise Untraceable if a graph gives another answer than its model: for one image, or for the same image twice."""
    difference = float("inf")
    if isinstance(answer, Tensor) and answer.shape == expected.shape:
        difference = float((answer - expected).abs().max() / expected.abs().max().clamp_min(_TINY))
    if difference > _TOLERANCE:  # NaN passes: weights with NaN are named elsewhere
        raise _untraceable(
            model,
            "cannot be traced: its forward depends on the number of images, or on more than its input",
            "Use a network whose forward takes any number of images and keeps no state between calls.",
        )


def _untraceable(model: nn.Module, message: str, remedy: str = Untraceable.default_remedy) -> Untraceable:
    name = type(model).__name__
    return Untraceable(f"{name} {message}", field="model", value=name, remedy=remedy)


def propagate(module: fx.GraphModule, example: Tensor) -> Any:
    """Write shape and multiplications (MACs) at batch 1 into every node's meta; gives the answer.

    Raises Untraceable if the network does not run on the example.
    """
    with evaluating(module), torch.no_grad():
        try:
            return _Recorder(module).run(example[:1])
        except _FAILURES as error:
            raise _does_not_run(example, error) from error


def _does_not_run(example: Tensor, error: Exception) -> Untraceable:
    shape = list(example.shape[1:])
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return Untraceable(
        f"the network does not run on an input of shape {shape}: {reason}",
        field="model.preprocess",
        value=shape,
        remedy="Give the input size and the number of channels that the network was made for.",
    )


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
        given = self.env.get(n.all_input_nodes[0]) if n.op == "call_module" and n.all_input_nodes else None
        version = given._version if isinstance(given, Tensor) else None
        result = super().run_node(n)
        n.meta["macs"] = (self._counter.get_total_flops() - before) // 2
        n.meta["passes"] = isinstance(given, Tensor) and result is given and given._version == version
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
