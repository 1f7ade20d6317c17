"""Compute what does not depend on the images, with the onnx package's reference implementation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from .values import Constant, Node, Unsupported

MAX_ELEMENTS = 1 << 27
"""Of a computed constant: far above any position table, and 1 GiB at most."""
_GROWING = {"ConstantOfShape", "Expand", "Tile", "Range", "Pad", "OneHot", "EyeLike", "Resize", "Upsample"}
"""Operators whose result's size is set by the values of their operands."""
_SIZED = {"ConstantOfShape": 0, "Expand": 1}
_RESHAPING = {
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Cast",
    "Identity",
    "Flatten",
    "ScatterND",
    "BatchNormalization",
    "InstanceNormalization",
}
"""Operators that make nothing new of their first operand."""
_RANDOM = ("Random", "Bernoulli", "Multinomial")


def fold(node: Node) -> list[Constant]:
    """Compute the node's outputs from constant operands. Raises Unsupported."""
    if node.op.startswith(_RANDOM):
        raise Unsupported("it is random")
    arrays = [operand.array if isinstance(operand, Constant) else None for operand in node.operands]
    _check_size(node, [array for array in arrays if array is not None])
    names = [f"operand{index}" if array is not None else "" for index, array in enumerate(arrays)]
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    if node.op == "BatchNormalization":  # networks standardise weights with it; its statistics are of no use
        del proto.output[1:]
    del proto.input[:]
    proto.input.extend(names)
    given = {name: array for name, array in zip(names, arrays, strict=True) if array is not None}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in proto.output if name]
    model = helper.make_model(
        helper.make_graph([proto], "constant", inputs, outputs),
        opset_imports=[helper.make_opsetid(node.proto.domain, node.opset)],
    )
    try:
        results = ReferenceEvaluator(model).run(None, given)
    except Exception as error:  # the reference implementation raises whatever numpy does
        raise Unsupported(f"{type(error).__name__}: {error}") from error
    found = iter(results)
    return [Constant(np.asarray(next(found)), name) if name else Constant(np.zeros(0), "") for name in proto.output]


def _check_size(node: Node, arrays: Sequence[NDArray[Any]]) -> None:
    if node.op in _SIZED:
        size = math.prod(int(number) for number in arrays[_SIZED[node.op]].reshape(-1)) if arrays else 1
    elif node.op == "Range":
        start, limit, step = (float(array.reshape(-1)[0]) for array in arrays)
        size = math.ceil((limit - start) / step) if step else MAX_ELEMENTS + 1
    elif node.op == "Tile":
        size = arrays[0].size * math.prod(int(number) for number in arrays[1])
    elif node.op in _RESHAPING:
        size = arrays[0].size
    elif node.op == "Concat":
        size = sum(array.size for array in arrays)
    elif node.op == "Conv":
        size = arrays[0].size * len(arrays[1])
    elif node.op in _GROWING:
        raise Unsupported("it is applied to constants")
    else:
        size = _bound([array.shape for array in arrays])
    if size > MAX_ELEMENTS:
        raise Unsupported(f"it would make a constant of up to {size} elements")


def _bound(shapes: Sequence[tuple[int, ...]]) -> int:
    """The most elements that an operator without sizes of its own can make of operands of these shapes."""
    try:
        return math.prod(np.broadcast_shapes(*shapes))
    except ValueError:
        return math.prod(math.prod(shape) for shape in shapes)
