"""Pooling and reductions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from .builder import Builder
from .values import Constant, Data, Node, Unsupported, position
from .weighted import padded, pads


def _global(make: Callable[[], nn.Module]) -> Callable[[Builder, Node], Data]:
    def handler(builder: Builder, node: Node) -> Data:
        _check_image(node.data())
        return builder.module(make(), node.data(), node.proto)

    return handler


def _max_pool(builder: Builder, node: Node) -> Data:
    value = node.data()
    _check_image(value)
    if any(node.proto.output[1:]):
        raise Unsupported("its indices are used")
    kernel, strides, dilations = _window(node)
    before, after = pads(node, value, kernel, strides, dilations)
    if max(pad - extent // 2 for pad, extent in zip(before, kernel, strict=True)) > 0 or before != after:
        borders = [before[1], after[1], before[0], after[0]]
        value = builder.call(nn.functional.pad, value, borders, axis=0, value=-math.inf)
        before = (0, 0)
    module = nn.MaxPool2d(kernel, strides, before, dilations, ceil_mode=bool(node.attribute("ceil_mode", 0)))
    return builder.module(module, value, node.proto)


def _average_pool(builder: Builder, node: Node) -> Data:
    value = node.data()
    _check_image(value)
    kernel, strides, dilations = _window(node)
    if dilations != (1, 1):
        raise Unsupported("its window is dilated")
    counts_padding, ceil = bool(node.attribute("count_include_pad", 0)), bool(node.attribute("ceil_mode", 0))
    before, after = pads(node, value, kernel, strides, dilations)
    plain, padding = padded(builder, node, value, kernel, strides, dilations, fill=0.0)
    module = nn.AvgPool2d(kernel, strides, padding, ceil, counts_padding)
    result = builder.module(module, plain, node.proto)
    if before == after or counts_padding:
        return result
    # The zeros at the sides count for torch: undo it where the window reaches over them.
    ones = nn.functional.pad(torch.ones(1, 1, *value.sample.shape[2:]), [before[1], after[1], before[0], after[0]])
    share = nn.functional.avg_pool2d(ones, kernel, strides, 0, ceil)
    factor = Constant(
        np.asarray(1.0 / share.double().numpy(), np.float64).astype(np.float32), f"{node.proto.name}.share"
    )
    return builder.call(torch.mul, result, factor, axis=0)


def _window(node: Node) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    kernel = node.attribute("kernel_shape")
    if len(kernel) != 2:
        raise Unsupported(f"it has {len(kernel)} spatial dimensions; images have 2")
    strides, dilations = node.attribute("strides", [1, 1]), node.attribute("dilations", [1, 1])
    return (kernel[0], kernel[1]), (strides[0], strides[1]), (dilations[0], dilations[1])


def _check_image(value: Data) -> None:
    if value.rank != 4 or value.axis != 0:
        raise Unsupported("its operand is not (batch, channels, height, width)")


def _reduction(function: Callable[..., Any]) -> Callable[[Builder, Node], Data]:
    def handler(builder: Builder, node: Node) -> Data:
        value = node.data()
        wanted = node.setting("axes", 1)
        if wanted is None and node.attribute("noop_with_empty_axes", 0):
            return value
        axes = sorted(position(axis, value.rank) for axis in (range(value.rank) if wanted is None else wanted))
        if value.axis in axes:
            raise Unsupported("it is over the batch")
        keeps = bool(node.attribute("keepdims", 1))
        axis = value.axis if keeps else value.axis - sum(each < value.axis for each in axes)
        return builder.call(function, value, axes, keeps, axis=axis)

    return handler


def _norm2(value: Any, axes: list[int], keepdim: bool) -> Any:
    return torch.linalg.vector_norm(value, 2, axes, keepdim)


OPERATORS = {
    "GlobalAveragePool": _global(lambda: nn.AdaptiveAvgPool2d(1)),
    "GlobalMaxPool": _global(lambda: nn.AdaptiveMaxPool2d(1)),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "ReduceMean": _reduction(torch.mean),
    "ReduceSum": _reduction(torch.sum),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMin": _reduction(torch.amin),
    "ReduceL2": _reduction(_norm2),
}
