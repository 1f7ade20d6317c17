"""Operators that move elements without computing: shapes, slices, concatenation."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from .builder import Builder
from .elementwise import as_weight, combine
from .layout import along, move, stack, unstack
from .values import BATCH, Constant, Data, Node, Operand, Unsupported, leading, position


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
        [index for index, size in enumerate(value.shape) if size == 1]
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


def _concat(builder: Builder, node: Node) -> Data:
    operands = [operand for operand in node.operands if operand is not None and 0 not in _sizes(operand)]
    images = [operand for operand in operands if isinstance(operand, Data)]
    axis = position(node.attribute("axis"), images[0].rank)
    if all(value.axis == images[0].axis != axis for value in images) and (
        len(images) == len(operands) or images[0].per_image == 1
    ):
        return _joined(builder, operands, axis)
    stacked = [
        stack(builder, each)
        if isinstance(each, Data)
        else Constant(each.array[None], f"{each.name}.stacked", is_weight=each.is_weight)
        for each in operands
    ]
    return unstack(builder, _joined(builder, stacked, axis + 1))


def _joined(builder: Builder, operands: Sequence[Operand], axis: int) -> Data:
    like = next(operand for operand in operands if isinstance(operand, Data))
    parts = [
        each if isinstance(each, Data) else _for_each_image(builder, as_weight(builder, each, like), like)
        for each in operands
    ]
    return parts[0] if len(parts) == 1 else builder.call(torch.cat, parts, axis, axis=like.axis)


def _for_each_image(builder: Builder, constant: Constant, like: Data) -> Data:
    """The constant, once for every image of the batch."""
    tensor, sample = builder.tensor(constant)
    count = builder.graph.call_method("size", (like.node, like.axis))
    expanded = builder.graph.call_method(
        "expand", (tensor, *(count if i == like.axis else -1 for i in range(like.rank)))
    )
    repeated = sample.expand(*(BATCH if i == like.axis else -1 for i in range(like.rank)))
    return Data(expanded, repeated, like.axis)


def _sizes(operand: Operand) -> tuple[int, ...]:
    return operand.shape if isinstance(operand, Data) else operand.array.shape


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


def _split(builder: Builder, node: Node) -> list[Data]:
    value = node.data()
    axis = position(node.attribute("axis", 0), value.rank)
    whole = value.shape[axis]
    sizes = node.setting("split", 1)
    if sizes is None:
        count = len(node.proto.output)
        each = -(-whole // count)
        sizes = [min(each, whole - each * index) for index in range(count)]
    folded = axis == value.axis
    if folded:
        value, axis = stack(builder, value), axis + 1
    node_of_parts = builder.graph.call_function(torch.split, (value.node, tuple(sizes), axis))
    parts = [
        Data(builder.graph.call_function(operator.getitem, (node_of_parts, index)), sample, value.axis)
        for index, sample in enumerate(torch.split(value.sample, list(sizes), axis))
    ]
    return [unstack(builder, part) for part in parts] if folded else parts


def _slice(builder: Builder, node: Node) -> Data:
    value = node.data()
    starts, ends = node.setting("starts", 1), node.setting("ends", 2)
    axes = node.setting("axes", 3) or list(range(len(starts)))
    steps = node.setting("steps", 4) or [1] * len(starts)
    cut: dict[int, slice] = {}
    turned: list[int] = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = position(axis, value.rank)
        picked = range(*slice(start, end, step).indices(value.shape[place]))
        if not picked:
            raise Unsupported("nothing is left of it")
        if step < 0:  # torch slices forwards only
            turned.append(place)
            picked = picked[::-1]
        if picked != range(value.shape[place]):
            cut[place] = slice(picked[0], picked[-1] + 1, abs(step))

    def work(value: Data, places: list[int]) -> Data:
        parts = [slice(None)] * value.rank
        for place, part in zip(places, cut.values(), strict=False):
            parts[place] = part
        if cut:
            value = builder.call(operator.getitem, value, tuple(parts), axis=value.axis)
        return builder.call(torch.flip, value, places[len(cut) :], axis=value.axis) if turned else value

    return along(builder, value, [*cut, *turned], work) if cut or turned else value


def _gather(builder: Builder, node: Node) -> Data:
    value, indices = node.data(), node.constant(1)
    if indices is None:
        raise Unsupported("it has no indices")
    axis = position(node.attribute("axis", 0), value.rank)
    array = np.asarray(indices.array % value.shape[axis], np.int64)

    def work(value: Data, axes: list[int]) -> Data:
        (axis,) = axes
        if array.ndim == 0:
            return builder.call(torch.select, value, axis, int(array), axis=value.axis - (axis < value.axis))
        flat = Constant(array.reshape(-1), indices.name)
        picked = builder.call(torch.index_select, value, axis, flat, axis=value.axis)
        if array.ndim == 1:
            return picked
        behind = array.ndim - 1 if axis < value.axis else 0
        return builder.call(torch.unflatten, picked, axis, array.shape, axis=value.axis + behind)

    if value.axis == axis and value.rank == 1 and array.ndim == 0:
        raise Unsupported("it picks one number of each image")
    return along(builder, value, [axis], work)


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
    ordered = builder.call(
        torch.permute, builder.call(torch.reshape, value, shape, axis=0), (0, 3, 5, 1, 2, 4), axis=0
    )
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
    "Concat": _concat,
    "Expand": _expand,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Where": _where,
}
