"""Operators that pick parts of a tensor, and the one that joins them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

import numpy as np
import torch

from .absorbing import as_weight
from .builder import Builder
from .layout import along, stack, unstack
from .values import BATCH, Constant, Data, Node, Operand, Unsupported, position


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
    return builder.known(expanded, repeated, like.axis)


def _sizes(operand: Operand) -> tuple[int, ...]:
    return operand.shape if isinstance(operand, Data) else operand.array.shape


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
        builder.known(builder.graph.call_function(operator.getitem, (node_of_parts, index)), sample, value.axis)
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

    return along(builder, value, [axis], work)


OPERATORS: dict[str, Callable[[Builder, Node], Data | list[Data]]] = {
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
}
