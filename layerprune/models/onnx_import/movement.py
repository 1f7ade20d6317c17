"""Operators that move elements without computing: shapes, slices, concatenation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from .builder import Builder
from .elementwise import combine
from .layout import move, stack, unstack
from .values import Constant, Data, Node, Unsupported, leading, position


def _shape(builder: Builder, node: Node) -> Constant:  # noqa: ARG001
    shape = node.data().shape
    start, end = node.attribute("start", 0), node.attribute("end")
    return Constant(np.array(shape[start:end], np.int64), node.proto.output[0])


def _reshape(builder: Builder, node: Node) -> Data:
    value, wanted = node.data(), node.setting("shape", 1)
    if not node.attribute("allowzero", 0):
        wanted = [value.shape[index] if size == 0 else size for index, size in enumerate(wanted)]
    known = math.prod(size for size in wanted if size != -1)
    return reshape(builder, value, [math.prod(value.shape) // known if size == -1 else size for size in wanted])


def _flatten(builder: Builder, node: Node) -> Data:
    value = node.data()
    axis = position(node.attribute("axis", 1), value.rank)
    return reshape(builder, value, [math.prod(value.shape[:axis]), math.prod(value.shape[axis:])])


def _squeeze(builder: Builder, node: Node) -> Data:
    value, axes = node.data(), node.setting("axes", 1)
    gone = (
        [index for index, size in enumerate(value.shape) if size == 1 and index != value.axis]
        if axes is None
        else [position(axis, value.rank) for axis in axes]
    )
    return reshape(builder, value, [size for index, size in enumerate(value.shape) if index not in gone])


def _unsqueeze(builder: Builder, node: Node) -> Data:
    value, axes = node.data(), node.setting("axes", 1)
    rank = value.rank + len(axes)
    for axis in sorted(position(axis, rank) for axis in axes):
        value = builder.call(torch.unsqueeze, value, axis, axis=value.axis + (axis <= value.axis))
    return value


def reshape(builder: Builder, value: Data, shape: Sequence[int]) -> Data:
    """Bring every image to `shape`, which the file states for a batch of one.

    A merge of neighbouring dimensions is emitted as such: then channels can still be pruned before it.
    """
    if tuple(shape) == value.shape:
        return value
    before = math.prod(value.shape[: value.axis])
    axis = leading(shape, before)
    if axis is None:  # the dimensions across the batch are mixed: bring it to the front, where it is in nobody's way
        value, axis = stack(builder, value), 0
    merged = _merged(value.shape, shape)
    if merged is not None and axis == _after_merge(value.axis, *merged):
        return builder.call(torch.flatten, value, *merged, axis=axis)
    sizes = [-1 if index == axis else size for index, size in enumerate(shape)]
    return builder.call(torch.reshape, value, tuple(sizes), axis=axis)


def _after_merge(axis: int, start: int, end: int) -> int | None:
    """Where a dimension is after those from `start` to `end` became one; None if it is within."""
    if axis <= start:
        return axis
    return axis - (end - start) if axis > end else None


def _merged(old: Sequence[int], new: Sequence[int]) -> tuple[int, int] | None:
    """The first and the last of neighbouring dimensions that became one, if that is all that happened."""
    count = len(old) - len(new)
    if count < 1:
        return None
    for start in range(len(new)):
        whole = [*old[:start], math.prod(old[start : start + count + 1]), *old[start + count + 1 :]]
        # Dimensions of 1 may be merged to either side; to the left they go with the channels.
        if whole == list(new) and start > 0:
            return start, start + count
    return None


def _transpose(builder: Builder, node: Node) -> Data:
    value = node.data()
    order = tuple(node.attribute("perm", range(value.rank)[::-1]))
    if order == tuple(range(value.rank)):
        return value
    return builder.call(torch.permute, value, order, axis=order.index(value.axis))


def _expand(builder: Builder, node: Node) -> Data:
    value, wanted = node.data(), node.setting("shape", 1)
    sizes = np.broadcast_shapes(value.shape, tuple(wanted))
    if sizes == value.shape:
        return value
    new = len(sizes) - value.rank
    if sizes[new + value.axis] == value.shape[value.axis]:
        kept = [-1 if index >= new and size == value.shape[index - new] else size for index, size in enumerate(sizes)]
        return builder.method("expand", value, *kept, axis=value.axis + new)
    value = stack(builder, value)
    for _ in range(new):
        value = builder.call(torch.unsqueeze, value, 1, axis=0)
    return unstack(builder, builder.method("expand", value, -1, *sizes, axis=0))


def _pad(builder: Builder, node: Node) -> Data:
    value, borders, fill = node.data(), node.setting("pads", 1), node.setting("value", 2, 0.0)
    rank = value.rank
    axes = node.setting("axes", 3) or list(range(rank))
    each: list[tuple[int, int]] = [(0, 0)] * rank
    for index, axis in enumerate(axes):
        each[position(axis, rank)] = (borders[index], borders[index + len(axes)])
    if all(pair == (0, 0) for pair in each):
        return value
    if each[value.axis] != (0, 0):
        return unstack(builder, _padded(builder, node, stack(builder, value), [(0, 0), *each], fill))
    return _padded(builder, node, value, each, fill)


def _padded(builder: Builder, node: Node, value: Data, each: Sequence[tuple[int, int]], fill: float | None) -> Data:
    rank = value.rank
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(node.attribute("mode", "constant"))
    needed = max(rank - index for index, pair in enumerate(each) if pair != (0, 0))
    if mode is None or (mode != "constant" and needed > 2):
        raise Unsupported(f"its mode is {node.attribute('mode')}")
    flat = [size for pair in reversed(each[rank - needed :]) for size in pair]
    settings: dict[str, Any] = {"mode": mode, "value": float(fill or 0.0)} if mode == "constant" else {"mode": mode}
    return builder.call(nn.functional.pad, value, flat, axis=value.axis, **settings)


def _depth_to_space(builder: Builder, node: Node) -> Data:
    value, size = move(builder, node.data(), 0), node.attribute("blocksize")
    if node.attribute("mode", "DCR") == "CRD":
        return builder.module(nn.PixelShuffle(size), value, node.proto)
    _, channels, height, width = value.shape
    rest = channels // size**2
    parts = builder.call(torch.reshape, value, (-1, size, size, rest, height, width), axis=0)
    ordered = builder.call(torch.permute, parts, (0, 3, 4, 1, 5, 2), axis=0)
    return builder.call(torch.reshape, ordered, (-1, rest, height * size, width * size), axis=0)


def _space_to_depth(builder: Builder, node: Node) -> Data:
    value, size = move(builder, node.data(), 0), node.attribute("blocksize")
    _, channels, height, width = value.shape
    shape = (-1, channels, height // size, size, width // size, size)
    ordered = builder.call(torch.permute, builder.call(torch.reshape, value, shape, axis=0), (0, 3, 5, 1, 2, 4), axis=0)
    return builder.call(torch.reshape, ordered, (-1, channels * size**2, height // size, width // size), axis=0)


def _where(builder: Builder, node: Node) -> Data:
    operands = [operand for operand in node.operands if operand is not None]
    return combine(builder, torch.where, *operands)


OPERATORS: dict[str, Callable[[Builder, Node], Data | Constant | list[Data]]] = {
    "Shape": _shape,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Expand": _expand,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Where": _where,
}
