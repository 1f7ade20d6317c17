"""Activations and arithmetic: what works on each element."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from .absorbing import absorb_bias, absorb_scale, learned
from .builder import Builder
from .chains import product, quotient
from .layout import along, move
from .values import Constant, Data, Node, Operand, Unsupported, position

Handler = Callable[[Builder, Node], Data]


def _activation(make: Callable[[Node], nn.Module]) -> Handler:
    return lambda builder, node: builder.module(make(node), node.data(), node.proto)


def _clip(node: Node) -> nn.Module:
    low, high = node.setting("min", 1), node.setting("max", 2)
    if low == 0 and high == 6:
        return nn.ReLU6()
    if low == 0 and high is None:
        return nn.ReLU()
    lowest, highest = (-math.inf if low is None else float(low)), (math.inf if high is None else float(high))
    return nn.Hardtanh(lowest, highest)


def _hard_sigmoid(builder: Builder, node: Node) -> Data:
    alpha, beta = node.attribute("alpha", 0.2), node.attribute("beta", 0.5)
    value = node.data()
    if math.isclose(alpha, 1 / 6, rel_tol=1e-5) and math.isclose(beta, 0.5):
        return builder.module(nn.Hardsigmoid(), value, node.proto)
    scaled = builder.call(operator.mul, value, alpha, axis=value.axis)
    shifted = builder.call(operator.add, scaled, beta, axis=value.axis)
    return builder.module(nn.Hardtanh(0.0, 1.0), shifted, node.proto)


def _softmax(kind: type[nn.Softmax | nn.LogSoftmax]) -> Handler:
    def handler(builder: Builder, node: Node) -> Data:
        value = node.data()
        axis = position(node.attribute("axis", -1 if node.opset >= 13 else 1), value.rank)
        # Before opset 13 everything from the axis on was one dimension.
        if node.opset < 13 and math.prod(value.shape[axis + 1 :]) > 1:
            raise Unsupported("it is over several dimensions")
        return along(builder, value, [axis], lambda value, axes: builder.module(kind(axes[0]), value, node.proto))

    return handler


def _unary(function: Callable[..., Any]) -> Handler:
    return lambda builder, node: builder.call(function, node.data(), axis=node.data().axis)


def _nary(function: Callable[..., Any]) -> Handler:
    """An operator of two operands or, pairwise, of more."""

    def handler(builder: Builder, node: Node) -> Data:
        operands = [operand for operand in node.operands if operand is not None]
        result = operands[0]
        for operand in operands[1:]:
            result = combine(builder, function, result, operand)
        if isinstance(result, Constant):
            raise Unsupported("it has no operand that depends on the input")
        return result

    return handler


def combine(builder: Builder, function: Callable[..., Any], *operands: Operand) -> Data:
    """Apply an elementwise function of broadcast operands, image by image.

    Where an operand has its own entry for each part of an image that the file folded into the batch (the windows of a
    shifted-window transformer have their masks), that dimension is unfolded for the while.
    """
    images = [operand for operand in operands if isinstance(operand, Data)]
    place = images[0].axis - images[0].rank
    if any(value.axis - value.rank != place for value in images):
        operands = tuple(_with_batch_at(builder, value, place) for value in operands)
        images = [operand for operand in operands if isinstance(operand, Data)]
    rank = max(value.rank if isinstance(value, Data) else value.array.ndim for value in operands)
    parts = {value.per_image for value in images}
    parts |= {
        value.array.shape[place] for value in operands if isinstance(value, Constant) and value.array.ndim >= -place
    } - {1}
    if len(parts) == 1 and all(isinstance(value, Data) or is_flat(value, place) for value in operands):
        return builder.call(function, *(_scalar(value) for value in operands), axis=rank + place)
    unfolded = [
        builder.call(torch.unflatten, value, value.axis, (-1, value.per_image), axis=value.axis)
        if isinstance(value, Data)
        else _unsqueezed(value, place)
        for value in operands
    ]
    result = builder.call(function, *map(_scalar, unfolded), axis=rank + place)
    return builder.call(torch.flatten, result, rank + place, rank + place + 1, axis=rank + place)


def _with_batch_at(builder: Builder, value: Operand, place: int) -> Operand:
    """The value with its batch so many dimensions from the end."""
    if isinstance(value, Constant):
        return value
    while value.rank < -place:
        value = builder.call(torch.unsqueeze, value, 0, axis=value.axis + 1)
    return move(builder, value, value.rank + place)


def is_flat(value: Constant, place: int) -> bool:
    """Whether the constant is the same along the batch."""
    return value.array.ndim < -place or value.array.shape[place] == 1


def _unsqueezed(value: Constant, place: int) -> Constant:
    if value.array.ndim <= -place:
        return value
    return replace(value, array=np.expand_dims(value.array, value.array.ndim + place), name=f"{value.name}.unfolded")


def _scalar(value: Operand) -> Any:
    """A constant of one number as that number, so that it is no tensor of the network."""
    if isinstance(value, Constant) and value.array.size == 1 and value.array.dtype.kind in "fi":
        return value.array.reshape(-1)[0].item()
    return value


def _spelt(
    function: Callable[..., Any], recognise: Callable[[Builder, Data], tuple[nn.Module, Data] | None]
) -> Handler:
    """An operator that may end what an exporter spelt out: see `chains`."""

    def handler(builder: Builder, node: Node) -> Data:
        result = _nary(function)(builder, node)
        found = recognise(builder, result)
        return result if found is None else builder.module(*found, node.proto)

    return handler


def _cast(builder: Builder, node: Node) -> Data:
    value = node.data()
    wanted = onnx.helper.tensor_dtype_to_np_dtype(node.attribute("to"))
    kind = torch.from_numpy(np.zeros(1, wanted)).dtype
    return value if kind == value.sample.dtype else builder.method("to", value, kind, axis=value.axis)


def _pow(builder: Builder, node: Node) -> Data:
    value, exponent = node.data(), node.constant(1)
    if exponent is None or exponent.array.size != 1:
        raise Unsupported("its exponent is not one number")
    number = float(exponent.array.reshape(-1)[0])
    function = {2.0: torch.square, 0.5: torch.sqrt}.get(number)
    return (
        builder.call(function, value, axis=value.axis)
        if function
        else builder.call(torch.pow, value, number, axis=value.axis)
    )


def _mean(builder: Builder, node: Node) -> Data:
    total = _nary(operator.add)(builder, node)
    return builder.call(operator.truediv, total, float(len(node.operands)), axis=total.axis)


def _maximum(first: Any, second: Any) -> Any:
    return torch.clamp(first, min=second)


def _minimum(first: Any, second: Any) -> Any:
    return torch.clamp(first, max=second)


def _gelu(node: Node) -> nn.Module:
    return nn.GELU(node.attribute("approximate", "none"))


def _identity(builder: Builder, node: Node) -> Data:  # noqa: ARG001
    return node.data()


def _dropout(builder: Builder, node: Node) -> Data:
    if any(builder.uses[name] for name in node.proto.output[1:]):
        raise Unsupported("its mask is used")
    rate = node.setting("ratio", 1, 0.5)
    return builder.module(nn.Dropout(float(rate)), node.data(), node.proto)


OPERATORS: dict[str, Handler] = {
    "Relu": _activation(lambda _: nn.ReLU()),
    "Clip": _activation(_clip),
    "Sigmoid": _activation(lambda _: nn.Sigmoid()),
    "Tanh": _activation(lambda _: nn.Tanh()),
    "LeakyRelu": _activation(lambda node: nn.LeakyReLU(node.attribute("alpha", 0.01))),
    "Elu": _activation(lambda node: nn.ELU(node.attribute("alpha", 1.0))),
    "Celu": _activation(lambda node: nn.CELU(node.attribute("alpha", 1.0))),
    "Selu": _activation(lambda _: nn.SELU()),
    "Softplus": _activation(lambda _: nn.Softplus()),
    "Softsign": _activation(lambda _: nn.Softsign()),
    "HardSwish": _activation(lambda _: nn.Hardswish()),
    "Mish": _activation(lambda _: nn.Mish()),
    "Gelu": _activation(_gelu),
    "HardSigmoid": _hard_sigmoid,
    "Softmax": _softmax(nn.Softmax),
    "LogSoftmax": _softmax(nn.LogSoftmax),
    "Add": learned(_nary(operator.add), absorb_bias),
    "Sum": _nary(operator.add),
    "Mean": _mean,
    "Sub": _nary(operator.sub),
    "Mul": learned(_spelt(operator.mul, lambda *args: product(*args) or quotient(*args)), absorb_scale),
    "Div": _spelt(operator.truediv, lambda *args: quotient(*args) or product(*args)),
    "Max": _nary(_maximum),
    "Min": _nary(_minimum),
    "Pow": _pow,
    "Sqrt": _unary(torch.sqrt),
    "Exp": _unary(torch.exp),
    "Log": _unary(torch.log),
    "Abs": _unary(torch.abs),
    "Neg": _unary(torch.neg),
    "Erf": _unary(torch.erf),
    "Reciprocal": _unary(torch.reciprocal),
    "Floor": _unary(torch.floor),
    "Ceil": _unary(torch.ceil),
    "Round": _unary(torch.round),
    "Sign": _unary(torch.sign),
    "Sin": _unary(torch.sin),
    "Cos": _unary(torch.cos),
    "Cast": _cast,
    "Identity": _identity,
    "Dropout": _dropout,
}
