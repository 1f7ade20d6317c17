"""Walk through every part of an ONNX model and refuse what a classifier does not need; imports onnx only."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

import onnx

from .confinement import Refused
from .limits import OnnxLimits, OnnxReport

_MEMORY_ADDRESS = "_ORT_MEM_ADDR_"


def describe(data: bytes, limits: OnnxLimits) -> OnnxReport:
    """Parse the file and check all of it. Raises Refused."""
    if data.startswith((b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")):
        raise Refused("it is an archive; send the .onnx file itself")
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own class moves between its versions
        raise Refused("it is no ONNX file, or a part of one") from error
    if not model.graph.node or not model.ir_version:
        raise Refused("it is no ONNX file, or an empty one")
    _check_functions(model, limits)
    operators: Counter[str] = Counter()
    elements = 0
    for graph in _graphs(model, limits):
        elements += _check_graph(graph, operators, limits)
    for function in model.functions:
        _check_nodes(function.node, operators, limits)
    for information in model.training_info:
        raise Refused(f"it carries instructions for training ({len(information.ListFields())} parts)")
    return _report(model, operators, elements, limits)


def _graphs(model: onnx.ModelProto, limits: OnnxLimits) -> Iterator[onnx.GraphProto]:
    """The main graph and everything nested in it or in a function."""
    waiting = [(model.graph, 0)]
    waiting += [(graph, 1) for function in model.functions for graph in _inner(function.node)]
    while waiting:
        graph, depth = waiting.pop()
        if depth > limits.max_depth:
            raise Refused(f"graphs are nested more than {limits.max_depth} deep")
        yield graph
        waiting += [(inner, depth + 1) for inner in _inner(graph.node)]


def _inner(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs


def _check_graph(graph: onnx.GraphProto, operators: Counter[str], limits: OnnxLimits) -> int:
    elements = 0
    for tensor in graph.initializer:
        elements += _check_tensor(tensor, limits)
    for sparse in graph.sparse_initializer:
        _check_tensor(sparse.values, limits)
        _check_tensor(sparse.indices, limits)
        raise Refused(f"the initializer {sparse.values.name!r} is sparse")
    _check_nodes(graph.node, operators, limits)
    return elements


def _check_nodes(nodes: Iterable[onnx.NodeProto], operators: Counter[str], limits: OnnxLimits) -> None:
    for node in nodes:
        if node.domain not in limits.domains:
            raise Refused(f"the node {node.name!r} is of the unknown domain {node.domain!r}")
        operators[node.op_type] += 1
        if operators.total() > limits.max_nodes:
            raise Refused(f"it has more than {limits.max_nodes} nodes")
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _check_tensor(attribute.t, limits)
            for tensor in attribute.tensors:
                _check_tensor(tensor, limits)
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise Refused(f"the node {node.name!r} has a sparse tensor")


def _check_tensor(tensor: onnx.TensorProto, limits: OnnxLimits) -> int:
    """Return how many elements the tensor has."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        places = ", ".join(repr(entry.value) for entry in tensor.external_data if entry.key == "location")
        hint = "; a file in memory" if _MEMORY_ADDRESS in places else ""
        raise Refused(f"the weights of {tensor.name!r} lie outside the file ({places or 'somewhere'}{hint})")
    if any(size < 0 for size in tensor.dims):
        raise Refused(f"{tensor.name!r} has a negative dimension: {list(tensor.dims)}")
    elements = math.prod(int(size) for size in tensor.dims)
    if elements > limits.max_elements:
        raise Refused(f"{tensor.name!r} claims {elements} elements, {limits.max_elements} are accepted")
    if tensor.raw_data:
        try:
            item = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        except (KeyError, TypeError) as error:
            raise Refused(f"{tensor.name!r} has the unknown element type {tensor.data_type}") from error
        # Types of less than a byte are packed, and numpy counts a byte for each.
        sent = len(tensor.raw_data)
        if sent > elements * item or (item > 1 and sent < elements * item):
            raise Refused(f"{tensor.name!r} claims {elements} elements and has {sent} bytes")
    return elements


def _check_functions(model: onnx.ModelProto, limits: OnnxLimits) -> None:
    """Refuse functions that call themselves, directly or through others, or too deeply."""
    functions = {(function.domain, function.name): function for function in model.functions}
    if len(functions) != len(model.functions):
        raise Refused("two functions have the same name")
    depths: dict[tuple[str, str], int] = {}
    calls = {
        key: {(node.domain, node.op_type) for node in _all_nodes(function.node, limits)} & functions.keys()
        for key, function in functions.items()
    }
    for _ in functions:
        for key, called in calls.items():
            if key not in depths and all(other in depths for other in called):
                depths[key] = 1 + max((depths[other] for other in called), default=0)
    if len(depths) < len(functions):
        raise Refused("its functions call each other in a circle")
    if max(depths.values(), default=0) > limits.max_depth:
        raise Refused(f"functions are nested more than {limits.max_depth} deep")
    _check_expansion(calls, depths, functions, limits)


def _check_expansion(
    calls: dict[tuple[str, str], set[tuple[str, str]]],
    depths: dict[tuple[str, str], int],
    functions: dict[tuple[str, str], onnx.FunctionProto],
    limits: OnnxLimits,
) -> None:
    """Refuse functions that would be too many nodes once each call is replaced by what it calls."""
    sizes: dict[tuple[str, str], int] = {}
    for key in sorted(depths, key=lambda each: depths[each]):
        counted = Counter((node.domain, node.op_type) for node in _all_nodes(functions[key].node, limits))
        sizes[key] = sum(times * (sizes[name] if name in calls[key] else 1) for name, times in counted.items())
        if sizes[key] > limits.max_nodes:
            raise Refused(f"the function {key[1]!r} unfolds to more than {limits.max_nodes} nodes")


def _all_nodes(nodes: Iterable[onnx.NodeProto], limits: OnnxLimits) -> Iterator[onnx.NodeProto]:
    waiting = [(list(nodes), 0)]
    while waiting:
        level, depth = waiting.pop()
        if depth > limits.max_depth:
            raise Refused(f"graphs are nested more than {limits.max_depth} deep")
        yield from level
        waiting += [(list(graph.node), depth + 1) for graph in _inner(level)]


def _report(model: onnx.ModelProto, operators: Counter[str], elements: int, limits: OnnxLimits) -> OnnxReport:
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
    initial = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initial]
    source = _only(inputs, "inputs")
    target = _only(list(model.graph.output), "outputs")
    shape = _shape(source, "input")
    if len(shape) != 4:
        raise Refused(f"the input {source.name!r} has {len(shape)} dimensions ({shape}); images have 4: N x C x H x W")
    if any(size is not None and size < 1 for size in shape):
        raise Refused(f"the input {source.name!r} has the shape {shape}")
    if math.prod(size or 1 for size in shape) > limits.max_elements:
        raise Refused(f"the input {source.name!r} of shape {shape} has more than {limits.max_elements} elements")
    if shape[0] is not None and shape[0] > limits.max_batch:
        raise Refused(f"the batch is fixed at {shape[0]}, at most {limits.max_batch} is accepted")
    return OnnxReport(
        opset=opset,
        ir_version=model.ir_version,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        nodes=operators.total(),
        parameters=elements,
        operators=dict(operators),
        input=source.name,
        input_shape=shape,
        output=target.name,
        output_shape=_shape(target, "output"),
    )


def _only(values: list[onnx.ValueInfoProto], what: str) -> onnx.ValueInfoProto:
    if len(values) != 1:
        names = ", ".join(value.name for value in values[:5]) or "none"
        raise Refused(f"it has {len(values)} {what} ({names}); a classifier has one")
    return values[0]


def _shape(value: onnx.ValueInfoProto, what: str) -> list[int | None]:
    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type) if tensor.elem_type else "no tensor"
        raise Refused(f"the {what} {value.name!r} is {kind}; float32 is what a network is trained in")
    # Some exporters write a dynamic dimension as -1.
    return [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
