"""Pooling and reductions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from .builder import Builder
from .layout import along, move
from .values import Constant, Data, Node, Unsupported, position
from .weighted import padded, pads


def _global(make: Callable[[], nn.Module]) -> Callable[[Builder, Node], Data]:
    def handler(builder: Builder, node: Node) -> Data:
        return builder.module(make(), _images(builder, node), node.proto)

    return handler


def _max_pool(builder: Builder, node: Node) -> Data:
    value = _images(builder, node)
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
    value = _images(builder, node)
    kernel, strides, dilations = _window(node)
    if dilations != (1, 1):
        raise Unsupported("its window is dilated")
    counts_padding, ceil = bool(node.attribute("count_include_pad", 0)), bool(node.attribute("ceil_mode", 0))
    before, after = pads(node, value, kernel, strides, dilations)
    plain, padding = padded(builder, node, value, kernel, strides, dilations, fill=0.0)
    module = nn.AvgPool2d(kernel, strides, (padding[0], padding[1]), ceil, counts_padding)
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


def _images(builder: Builder, node: Node) -> Data:
    if node.data().rank != 4:
        raise Unsupported("its operand is not (batch, channels, height, width)")
    return move(builder, node.data(), 0)


def _reduction(function: Callable[..., Any]) -> Callable[[Builder, Node], Data]:
    def handler(builder: Builder, node: Node) -> Data:
        value = node.data()
        wanted = node.setting("axes", 1)
        if wanted is None and node.attribute("noop_with_empty_axes", 0):
            return value
        axes = sorted(position(axis, value.rank) for axis in (range(value.rank) if wanted is None else wanted))
        keeps = bool(node.attribute("keepdims", 1))

        def work(value: Data, axes: list[int]) -> Data:
            axis = value.axis if keeps else value.axis - sum(each < value.axis for each in axes)
            return builder.call(function, value, axes, keeps, axis=axis)

        return along(builder, value, axes, work)

    return handler


def _norm1(value: Any, axes: list[int], keepdim: bool) -> Any:
    return torch.linalg.vector_norm(value, 1, axes, keepdim)


def _norm2(value: Any, axes: list[int], keepdim: bool) -> Any:
    return torch.linalg.vector_norm(value, 2, axes, keepdim)


def _resize(builder: Builder, node: Node) -> Data:
    """Enlarge an image by whole factors, or to a size, in the ways that torch and ONNX share."""
    value = _images(builder, node)
    operands = {"Upsample": (1, None), "Resize": (2, 3) if node.opset >= 11 else (1, None)}[node.op]
    scales = node.setting("scales", operands[0])
    sizes = node.setting("sizes", operands[1]) if operands[1] is not None else None
    height, width = value.shape[2:]
    target = sizes[2:] if sizes else [math.floor(height * scales[2]), math.floor(width * scales[3])]
    mode = node.attribute("mode", "nearest")
    # Before opset 11 coordinates were divided by the scale.
    where = node.attribute("coordinate_transformation_mode", "half_pixel" if node.opset >= 11 else "asymmetric")
    whole = target[0] % height == 0 == target[1] % width
    if mode == "nearest" and whole:
        # Every pixel is repeated; where rounding says otherwise, ONNX Runtime disagrees and the file is refused.
        module = nn.Upsample(tuple(target), mode="nearest")
    elif mode in ("linear", "bilinear") and where in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        module = nn.Upsample(tuple(target), mode="bilinear", align_corners=where == "align_corners")
    else:
        raise Unsupported(f"its mode is {mode} with {where}")
    return builder.module(module, value, node.proto)


OPERATORS = {
    "Upsample": _resize,
    "Resize": _resize,
    "GlobalAveragePool": _global(lambda: nn.AdaptiveAvgPool2d(1)),
    "GlobalMaxPool": _global(lambda: nn.AdaptiveMaxPool2d(1)),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "ReduceMean": _reduction(torch.mean),
    "ReduceSum": _reduction(torch.sum),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMin": _reduction(torch.amin),
    "ReduceL1": _reduction(_norm1),
    "ReduceL2": _reduction(_norm2),
}
