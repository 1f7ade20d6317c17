"""Operators with weights, as modules: convolutions, linear layers, normalisations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from .absorbing import as_weight
from .builder import Builder
from .elementwise import is_flat
from .layout import along, move, stack, unstack
from .values import Constant, Data, Node, Unsupported, position


def conv(builder: Builder, node: Node) -> Data:
    value, weight, bias = node.data(), _weight(node, 1), node.constant(2)
    spatial = weight.array.ndim - 2
    if spatial not in (1, 2) or value.rank != spatial + 2:
        raise Unsupported(f"it has {spatial} spatial dimensions; images have 2")
    value = move(builder, value, 0)
    groups = node.attribute("group", 1)
    strides = tuple(node.attribute("strides", [1] * spatial))
    dilations = tuple(node.attribute("dilations", [1] * spatial))
    value, padding = padded(builder, node, value, weight.array.shape[2:], strides, dilations, fill=0.0)
    kind: Any = (nn.Conv1d, nn.Conv2d)[spatial - 1]
    module: nn.Module = kind(
        weight.array.shape[1] * groups,
        len(weight.array),
        weight.array.shape[2:],
        strides,
        padding,
        dilations,
        groups,
        bias=bias is not None,
    )
    _fill(module, weight=weight.array, bias=None if bias is None else bias.array)
    return builder.module(module, value, node.proto, weight, bias)


def padded(
    builder: Builder,
    node: Node,
    value: Data,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    *,
    fill: float,
) -> tuple[Data, tuple[int, ...]]:
    """The value and what a module has to pad on both sides; where the sides differ, the value is padded here."""
    before, after = pads(node, value, kernel, strides, dilations)
    if before == after:
        return value, before
    # Last dimension first, as torch.nn.functional.pad has it.
    borders = [size for pair in zip(before[::-1], after[::-1], strict=True) for size in pair]
    return builder.call(nn.functional.pad, value, borders, axis=value.axis, value=fill), (0,) * len(kernel)


def pads(
    node: Node, value: Data, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What is padded before and after, by the attribute or by the rule that auto_pad names at the value's size."""
    rule = node.attribute("auto_pad", "NOTSET")
    if rule == "NOTSET":
        both = tuple(node.attribute("pads", [0, 0] * len(kernel)))
        return both[: len(kernel)], both[len(kernel) :]
    if rule == "VALID":
        return (0,) * len(kernel), (0,) * len(kernel)
    before, after = [], []
    for size, extent, stride, dilation in zip(value.sample.shape[2:], kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (extent - 1) * dilation + 1 - size)
        small, large = total // 2, total - total // 2
        before.append(large if rule == "SAME_LOWER" else small)
        after.append(small if rule == "SAME_LOWER" else large)
    return tuple(before), tuple(after)


def gemm(builder: Builder, node: Node) -> Data:
    """Y = alpha A B + beta C, B and C constant: a linear layer."""
    value, weight, bias = node.data(), _weight(node, 1), node.constant(2)
    if value.rank != 2:
        raise Unsupported("its first operand is not (batch, features)")
    if node.attribute("transA", 0):
        value = builder.call(torch.permute, value, (1, 0), axis=1 - value.axis)
    matrix = weight.array if node.attribute("transB", 0) else weight.array.T
    scale = None if bias is None else node.attribute("beta", 1.0) * np.broadcast_to(bias.array, (len(matrix),))
    return _linear(builder, node, value, matrix * np.float32(node.attribute("alpha", 1.0)), scale, weight, bias)


def matmul(builder: Builder, node: Node) -> Data:
    first, second = node.operand(0), node.operand(1)
    if isinstance(first, Data) and isinstance(second, Constant) and second.array.ndim == 2:
        return _linear(builder, node, first, second.array.T, None, second, None)
    if first is None or second is None:
        raise Unsupported("an operand is missing")
    first, second = (_factor(builder, one, other) for one, other in ((first, second), (second, first)))
    images = [operand for operand in (first, second) if isinstance(operand, Data)]
    ranks = [operand.rank if isinstance(operand, Data) else operand.array.ndim for operand in (first, second)]
    if min(ranks) < 2:
        raise Unsupported("an operand is a vector")
    place = images[0].axis - images[0].rank
    plain = place < -2 and all(
        (operand.axis - operand.rank, operand.per_image) == (place, images[0].per_image)
        if isinstance(operand, Data)
        else is_flat(operand, place)
        for operand in (first, second)
    )
    if plain:
        return builder.call(torch.matmul, first, second, axis=max(ranks) + place)
    # With the batch in front of all, the other dimensions broadcast as in the file.
    apart = [_stacked(builder, one, max(ranks)) if isinstance(one, Data) else one for one in (first, second)]
    return unstack(builder, builder.call(torch.matmul, *apart, axis=0))


def _factor(builder: Builder, operand: Data | Constant, other: Data | Constant) -> Data | Constant:
    if isinstance(operand, Constant) and isinstance(other, Data):
        return as_weight(builder, operand, other)
    return operand


def _stacked(builder: Builder, value: Data, rank: int) -> Data:
    """The value with its batch in front of so many dimensions."""
    value = stack(builder, value)
    while value.rank < rank + 1:
        value = builder.call(torch.unsqueeze, value, 1, axis=0)
    return value


def einsum(builder: Builder, node: Node) -> Data:
    """A sum of products by its letters; the batch gets one of its own, in front."""
    equation = node.attribute("equation").replace(" ", "")
    if "." in equation or "->" not in equation:
        raise Unsupported("its equation leaves letters out")
    letters, answer = equation.split("->")
    batch = next(letter for letter in "zyxwvutsrqponmlkjihgfedcba" if letter not in equation)
    like = next(operand for operand in node.operands if isinstance(operand, Data))
    terms, operands = [], []
    for term, operand in zip(letters.split(","), node.operands, strict=True):
        if operand is None:
            raise Unsupported("an operand is missing")
        images = isinstance(operand, Data)
        terms.append(batch + term if images else term)
        operands.append(stack(builder, operand) if isinstance(operand, Data) else as_weight(builder, operand, like))
    return unstack(builder, builder.call(torch.einsum, f"{','.join(terms)}->{batch}{answer}", *operands, axis=0))


def _linear(builder: Builder, node: Node, value: Data, matrix: Any, bias: Any, *names: Constant | None) -> Data:
    module = nn.Linear(matrix.shape[1], matrix.shape[0], bias=bias is not None)
    _fill(module, weight=matrix, bias=bias)
    if value.axis != value.rank - 1:
        return builder.module(module, value, node.proto, *names)
    # Sequence first: the file folded a batch of one into the features.
    value = builder.call(torch.unflatten, value, value.axis, (-1, matrix.shape[1]), axis=value.axis)
    value = builder.module(module, value, node.proto, *names)
    return builder.call(torch.flatten, value, value.axis, value.axis + 1, axis=value.axis)


def batch_norm(builder: Builder, node: Node) -> Data:
    """In inference mode: (x - mean) / sqrt(var + eps) * scale + bias per channel."""
    value = node.data()
    scale, bias, mean, variance = (_weight(node, index) for index in range(1, 5))
    if node.attribute("training_mode", 0):
        raise Unsupported("it is in training mode")
    if value.rank not in (2, 3, 4):
        raise Unsupported("its operand is not (batch, channels, ...)")
    value = move(builder, value, 0)
    kind = nn.BatchNorm2d if value.rank == 4 else nn.BatchNorm1d
    # ONNX weighs the old statistics, torch the new ones.
    momentum = 1.0 - node.attribute("momentum", 0.9)
    module = kind(len(scale.array), node.attribute("epsilon", 1e-5), momentum)
    _fill(module, weight=scale.array, bias=bias.array, running_mean=mean.array, running_var=variance.array)
    return builder.module(module, value, node.proto, scale, bias)


def layer_norm(builder: Builder, node: Node) -> Data:
    value, scale, bias = node.data(), _weight(node, 1), node.constant(2)
    axis = position(node.attribute("axis", -1), value.rank)
    if any(node.proto.output[1:]):
        raise Unsupported("its statistics are used")
    shape = value.shape[axis:]
    module = nn.LayerNorm(shape, node.attribute("epsilon", 1e-5), bias=bias is not None)
    _fill(module, weight=np.broadcast_to(scale.array, shape), bias=None if bias is None else bias.array)
    axes = list(range(axis, value.rank))
    return along(builder, value, axes, lambda value, _: builder.module(module, value, node.proto, scale, bias))


def local_response_norm(builder: Builder, node: Node) -> Data:
    size = node.attribute("size")
    if size % 2 == 0:
        raise Unsupported("its size is even")
    settings = (node.attribute("alpha", 1e-4), node.attribute("beta", 0.75), node.attribute("bias", 1.0))
    return builder.module(nn.LocalResponseNorm(size, *settings), move(builder, node.data(), 0), node.proto)


def instance_norm(builder: Builder, node: Node) -> Data:
    value, scale, bias = node.data(), _weight(node, 1), _weight(node, 2)
    return _group_norm(builder, node, value, scale, bias, groups=len(scale.array))


def group_norm(builder: Builder, node: Node) -> Data:
    value, scale, bias = node.data(), _weight(node, 1), _weight(node, 2)
    groups = node.attribute("num_groups")
    if len(scale.array) == groups != value.shape[1]:  # opset 18 and 19 have one factor per group
        each = value.shape[1] // groups
        scale, bias = (Constant(np.repeat(one.array, each), one.name) for one in (scale, bias))
    return _group_norm(builder, node, value, scale, bias, groups=groups)


def _group_norm(builder: Builder, node: Node, value: Data, scale: Constant, bias: Constant, *, groups: int) -> Data:
    value = move(builder, value, 0)
    module = nn.GroupNorm(groups, len(scale.array), node.attribute("epsilon", 1e-5))
    _fill(module, weight=scale.array, bias=bias.array)
    return builder.module(module, value, node.proto, scale, bias)


def prelu(builder: Builder, node: Node) -> Data:
    value, slope = node.data(), _weight(node, 1)
    if slope.array.size not in (1, value.shape[1]) or value.axis != 0:
        raise Unsupported("its slopes are neither one nor one per channel")
    module = nn.PReLU(slope.array.size)
    _fill(module, weight=slope.array.reshape(-1))
    return builder.module(module, value, node.proto, slope)


def _weight(node: Node, index: int) -> Constant:
    value = node.constant(index)
    if value is None:
        raise Unsupported(f"operand {index} is missing")
    return value


def _fill(module: nn.Module, **arrays: Any) -> None:
    """Write arrays into the tensors of a new module."""
    with torch.no_grad():
        for name, array in arrays.items():
            if array is not None:
                getattr(module, name).copy_(
                    torch.tensor(np.ascontiguousarray(array)).reshape(getattr(module, name).shape)
                )


OPERATORS = {
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    "PRelu": prelu,
    "LRN": local_response_norm,
    "Einsum": einsum,
}
