"""Rebuild an ONNX graph with torch's modules and functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import onnx
import torch
from onnx import numpy_helper
from torch import fx

from layerprune.api.errors import BadInput

from . import elementwise, movement, pooling, selection, weighted
from .builder import Builder
from .folding import fold
from .values import BATCH, Constant, Data, Node, Operand, Unsupported

Result = Data | Constant | Sequence[Data]
OPERATORS: dict[str, Callable[[Builder, Node], Result]] = {
    **weighted.OPERATORS,
    **elementwise.OPERATORS,
    **pooling.OPERATORS,
    **movement.OPERATORS,
    **selection.OPERATORS,
}


def convert(model: onnx.ModelProto, shape: Sequence[int], *, channels_last: bool = False) -> fx.GraphModule:
    """Rebuild the model for images of `shape` (C, H, W), in eval mode; see the package.

    With `channels_last` the file takes N x H x W x C. Raises BadInput, which names every operator that is unknown or
    is used in a way that cannot be rebuilt, with its first node.
    """
    graph = model.graph
    generator = torch.Generator().manual_seed(0)
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    builder = Builder(torch.randn(BATCH, *shape, generator=generator), uses)
    images = builder.input
    if channels_last:
        images = builder.call(torch.permute, images, (0, 2, 3, 1), axis=0)
    values: dict[str, Operand | None] = {
        tensor.name: Constant(numpy_helper.to_array(tensor), tensor.name) for tensor in graph.initializer
    }
    values.update({value.name: images for value in graph.input if value.name not in values})
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 1)
    unsupported: dict[str, str] = {}
    lost_constants: set[str] = set()
    for proto in graph.node:
        if any(values[name] is None for name in proto.input if name):
            _skip(proto, values, lost_constants, unsupported)
            continue
        node = Node(proto, [values[name] if name else None for name in proto.input], opset)
        try:
            results = _rebuild(builder, node)
        except (Unsupported, RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
            reason = f": {str(error).splitlines()[0]}" if str(error) else ""
            unsupported.setdefault(proto.op_type, f"node {_name(proto)}{reason}")
            values.update(dict.fromkeys(proto.output))
            continue
        values.update(zip(proto.output, results, strict=False))
    if unsupported:
        raise _refusal(unsupported)
    output = values[graph.output[0].name]
    if not isinstance(output, Data):
        raise BadInput("the network's output does not depend on its input", field="model.onnx", code="onnx_refused")
    return builder.finish(_flat(builder, output))


def _skip(
    proto: onnx.NodeProto, values: dict[str, Operand | None], lost_constants: set[str], unsupported: dict[str, str]
) -> None:
    """Leave out what follows from a node that cannot be rebuilt; its operator is looked at all the same."""
    names = [name for name in proto.input if name]
    if proto.op_type == "Shape" or all(isinstance(values[n], Constant) or n in lost_constants for n in names):
        lost_constants.update(proto.output)  # no operator of the network, but of a shape that would have been computed
    elif proto.op_type not in OPERATORS:
        unsupported.setdefault(proto.op_type, f"node {_name(proto)}")
    values.update(dict.fromkeys(proto.output))


def _rebuild(builder: Builder, node: Node) -> Sequence[Data | Constant]:
    if not any(isinstance(operand, Data) for operand in node.operands):
        return fold(node)
    if node.op not in OPERATORS or node.proto.domain not in ("", "ai.onnx"):
        raise Unsupported
    made = OPERATORS[node.op](builder, node)
    return [made] if isinstance(made, (Data, Constant)) else made


def _flat(builder: Builder, output: Data) -> Data:
    """Bring N x classes x 1 x 1 to N x classes. Raises BadInput for anything else."""
    shape = output.shape
    if output.axis != 0 or len(shape) < 2 or any(size != 1 for size in shape[2:]) or output.per_image != 1:
        raise BadInput(
            f"the network answers with the shape {list(shape)} for one image; a classifier's is [1, classes]",
            field="model.onnx",
            value=list(shape),
            code="onnx_refused",
            remedy="Export the classifier itself, with one output of logits.",
        )
    return output if len(shape) == 2 else builder.call(torch.flatten, output, 1, axis=0)


def _refusal(unsupported: dict[str, str]) -> BadInput:
    named = "; ".join(f"{operator} ({where})" for operator, where in unsupported.items())
    return BadInput(
        f"the ONNX file uses operators that cannot be turned into a trainable network: {named}",
        field="model.onnx",
        value=list(unsupported),
        code="unsupported_operators",
        remedy="Export the network in evaluation mode with torch.onnx, without preprocessing or postprocessing inside.",
    )


def _name(proto: onnx.NodeProto) -> str:
    return repr(proto.name or proto.output[0])
