"""Activations and norms that exporters spell out, as the modules that they were.

Exporters write GELU, SiLU, hard swish, Mish and, before opset 17, layer norm as chains of arithmetic. Each function
here looks at the last node of a chain; the nodes before it go in the end, unless something else uses them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from .builder import Builder
from .values import Data

_CLOSE = 1e-4


def product(builder: Builder, value: Data) -> tuple[nn.Module, Data] | None:
    """The activation x gate(x) that a multiplication or division ends, and its x."""
    scale, node = _scaled(value.node)
    factors = _operands(node, operator.mul) or ()
    for source, gated in (factors, factors[::-1]) if factors else ():
        gate_scale, gate = _scaled(gated)
        for activation, wanted, is_gate in _GATES:
            start = is_gate(builder, gate)
            if start is None:
                continue
            source_scale = _scale_to(source, start)
            if source_scale is not None and math.isclose(scale * gate_scale * source_scale, wanted, rel_tol=_CLOSE):
                return activation(), builder.data_of(start)
    return None


def quotient(builder: Builder, value: Data) -> tuple[nn.Module, Data] | None:
    """The layer norm without weights, (x - mean) / sqrt(variance + epsilon), that a division ends, and its x."""
    centred, deviation = _operands(value.node, operator.truediv) or (None, None)
    if centred is None and (factors := _operands(value.node, operator.mul)):
        (deviation,) = _operands(factors[1], torch.reciprocal) or (None,)
        centred = factors[0]
    source, mean = _operands(centred, operator.sub) or (None, None)
    (root,) = _operands(deviation, torch.sqrt) or (None,)
    epsilon, variance = _apart(root, operator.add)
    averaged, axes, _ = _operands(mean, torch.mean) or (None, [], False)
    if epsilon is None or averaged is not source or not isinstance(source, fx.Node):
        return None
    start = builder.data_of(source)
    last = list(range(start.rank - len(axes), start.rank))
    square, over, keeps = _operands(variance, torch.mean) or (None, [], False)
    squared = {*(_operands(square, torch.square) or _operands(square, operator.mul) or (None,))}
    if squared != {centred} or not list(axes) == list(over) == last or not keeps or start.axis in last:
        return None
    return nn.LayerNorm(start.sample.shape[last[0] :], epsilon, elementwise_affine=False), start


def _sigmoid(builder: Builder, gate: fx.Node) -> fx.Node | None:
    return _under(builder, gate, nn.Sigmoid)


def _hard_sigmoid(builder: Builder, gate: fx.Node) -> fx.Node | None:
    return _under(builder, gate, nn.Hardsigmoid)


def _relu6(builder: Builder, gate: fx.Node) -> fx.Node | None:
    """relu6(x + 3)"""
    shift, start = _apart(_under(builder, gate, nn.ReLU6), operator.add)
    return start if shift == 3 else None


def _softplus(builder: Builder, gate: fx.Node) -> fx.Node | None:
    """tanh(log(1 + exp(x)))"""
    inner = _under(builder, gate, nn.Tanh)
    return None if inner is None else _under(builder, inner, nn.Softplus)


def _erf(builder: Builder, gate: fx.Node) -> fx.Node | None:  # noqa: ARG001
    """1 + erf(x / sqrt(2))"""
    shift, inner = _apart(gate, operator.add)
    (argument,) = _operands(inner, torch.erf) or (None,)
    scale, start = _scaled(argument)
    return start if shift == 1 and math.isclose(scale, math.sqrt(0.5), rel_tol=_CLOSE) else None


def _tanh(builder: Builder, gate: fx.Node) -> fx.Node | None:
    """1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))"""
    shift, inner = _apart(gate, operator.add)
    under = _under(builder, inner, nn.Tanh) if shift == 1 else None
    scale, total = _scaled(under) if under is not None else (0.0, None)
    terms = _operands(total, operator.add)
    if terms is None or not math.isclose(scale, math.sqrt(2 / math.pi), rel_tol=_CLOSE):
        return None
    for start, rest in (terms, terms[::-1]):
        factor, cube = _scaled(rest)
        if _operands(cube, torch.pow) == (start, 3.0) and math.isclose(factor, 0.044715, rel_tol=_CLOSE):
            return start if isinstance(start, fx.Node) else None
    return None


Gate = Callable[[Builder, fx.Node], fx.Node | None]
_GATES: list[tuple[Callable[[], nn.Module], float, Gate]] = [
    (nn.SiLU, 1.0, _sigmoid),
    (nn.Hardswish, 1.0, _hard_sigmoid),
    (nn.Hardswish, 1 / 6, _relu6),
    (nn.Mish, 1.0, _softplus),
    (nn.GELU, 0.5, _erf),
    (lambda: nn.GELU("tanh"), 0.5, _tanh),
]
"""An activation, the number by which x and the gate are multiplied, and how its gate is recognised."""


def _operands(node: Any, function: Callable[..., Any]) -> tuple[Any, ...] | None:
    """The operands of a node, if it calls this function."""
    calls = isinstance(node, fx.Node) and node.op == "call_function" and node.target is function
    return tuple(node.args) if calls else None


def _under(builder: Builder, node: Any, kind: type[nn.Module]) -> fx.Node | None:
    """What a module of this kind is applied to, if the node is one."""
    if isinstance(node, fx.Node) and isinstance(builder.module_of(node), kind):
        return node.all_input_nodes[0]
    return None


def _apart(node: Any, function: Callable[..., Any]) -> tuple[float | None, Any]:
    """The number and the other operand of a sum or product with a number."""
    operands = _operands(node, function) or ()
    for number, other in (operands, operands[::-1]) if operands else ():
        if isinstance(number, (int, float)) and isinstance(other, fx.Node):
            return float(number), other
    return None, None


def _step(node: Any) -> tuple[float, Any] | None:
    """The number by which a node multiplies, and what it multiplies."""
    dividend, divisor = _operands(node, operator.truediv) or (None, None)
    if isinstance(divisor, (int, float)) and divisor:
        return 1.0 / float(divisor), dividend
    number, other = _apart(node, operator.mul)
    return None if number is None else (number, other)


def _scaled(node: Any) -> tuple[float, Any]:
    """The product of all numbers by which something is multiplied, and that something."""
    scale = 1.0
    while (step := _step(node)) is not None:
        scale, node = scale * step[0], step[1]
    return scale, node


def _scale_to(node: Any, start: fx.Node) -> float | None:
    """The number by which `start` is multiplied to give the node, if it is."""
    scale = 1.0
    while node is not start:
        step = _step(node)
        if step is None:
            return None
        scale, node = scale * step[0], step[1]
    return scale
