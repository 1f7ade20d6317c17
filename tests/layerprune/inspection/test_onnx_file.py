"""Hostile and honest ONNX files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from io import BytesIO

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from layerprune.api.errors import BadInput
from layerprune.inspection.limits import OnnxLimits
from layerprune.inspection.onnx_file import inspect_onnx
from layerprune.inspection.onnx_walk import Refused, describe

LIMITS = OnnxLimits()


def _model() -> onnx.ModelProto:
    """A global average pool and a linear layer."""
    weight = numpy_helper.from_array(np.ones((3, 5), np.float32), "weight")
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("MatMul", ["flat", "weight"], ["y"], "fc"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="test")


def test_an_honest_file_is_described_by_a_process_of_its_own() -> None:
    report = inspect_onnx(_model().SerializeToString())
    assert (report.input_shape, report.output_shape) == ([None, 3, 8, 8], [None, 5])
    assert (report.opset, report.nodes, report.parameters) == (17, 3, 15)
    assert report.operators == {"GlobalAveragePool": 1, "Flatten": 1, "MatMul": 1}


def test_a_refusal_crosses_the_process() -> None:
    with pytest.raises(BadInput, match="refused: it is no ONNX file") as caught:
        inspect_onnx(b"\xff\xfe not a protobuf")
    assert (caught.value.code, caught.value.field) == ("onnx_refused", "model.onnx")


def test_a_process_that_takes_too_much_memory_is_a_refusal() -> None:
    with pytest.raises(BadInput, match="broken or far too large"):
        inspect_onnx(_model().SerializeToString(), OnnxLimits(memory_bytes=16 << 20))


def test_a_file_over_the_limit_is_not_looked_at() -> None:
    with pytest.raises(BadInput, match="100 are accepted"):
        inspect_onnx(_model().SerializeToString(), OnnxLimits(max_bytes=100))


def _external(location: str) -> Callable[[onnx.ModelProto], None]:
    def spoil(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return spoil


def _external_in_attribute(model: onnx.ModelProto) -> None:
    tensor = TensorProto(name="hidden", dims=[1], data_type=TensorProto.FLOAT)
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def _external_in_branch(model: onnx.ModelProto) -> None:
    inner = _model()
    _external("../secret")(inner)
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner.graph, else_branch=inner.graph))


def _huge(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 20]


def _mismatched(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [3, 6]


def _negative(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-3, -5]


def _function(name: str, calls: list[str]) -> onnx.FunctionProto:
    nodes = [helper.make_node(called, ["a"], ["a"], domain="ai.onnx.ml") for called in calls]
    return helper.make_function("ai.onnx.ml", name, ["a"], ["a"], nodes, [helper.make_opsetid("", 17)])


def _cyclic(model: onnx.ModelProto) -> None:
    model.functions.extend([_function("F", ["G"]), _function("G", ["F"])])


def _self_call(model: onnx.ModelProto) -> None:
    model.functions.append(_function("F", ["F"]))


def _exploding(model: onnx.ModelProto) -> None:
    model.functions.append(_function("F0", ["Unknown"] * 10))
    model.functions.extend(_function(f"F{level}", [f"F{level - 1}"] * 10) for level in range(1, 8))


def _deep(model: onnx.ModelProto) -> None:
    graph = _model().graph
    for _ in range(20):
        node = helper.make_node("If", ["x"], ["z"], then_branch=graph, else_branch=_model().graph)
        graph = helper.make_graph([node], "g", [], [])
    model.graph.node.append(graph.node[0])


def _domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.evil"


def _two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, [1]))


def _two_outputs(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["n", 3]))


def _half(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def _class_index(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64


def _flat_input(model: onnx.ModelProto) -> None:
    del model.graph.input[0].type.tensor_type.shape.dim[2:]


def _wide_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 1 << 40


def _sparse(model: onnx.ModelProto) -> None:
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))


def _training(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.name = "step"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_external("weights.bin"), r"'weight' lie outside the file \('weights.bin'"),
        (_external("../../etc/passwd"), "lie outside the file"),
        (_external("/etc/passwd"), "lie outside the file"),
        (_external("*/_ORT_MEM_ADDR_/*"), "a file in memory"),
        (_external_in_attribute, "'hidden' lie outside the file"),
        (_external_in_branch, "lie outside the file"),
        (_huge, "claims 1152921504606846976 elements"),
        (_mismatched, "claims 18 elements and has 60 bytes"),
        (_negative, "negative dimension"),
        (_cyclic, "in a circle"),
        (_self_call, "in a circle"),
        (_exploding, "unfolds to more than 100000 nodes"),
        (_deep, "nested more than 16 deep"),
        (_domain, "unknown domain 'com.evil'"),
        (_two_inputs, r"2 inputs \(x, x2\)"),
        (_two_outputs, r"2 outputs \(y, flat\)"),
        (_half, "the input 'x' is FLOAT16"),
        (_class_index, "the output 'y' is INT64"),
        (_flat_input, "has 2 dimensions"),
        (_wide_input, "more than 536870912 elements"),
        (_sparse, "sparse"),
        (_training, "instructions for training"),
    ],
)
def test_what_a_classifier_does_not_need_is_refused(spoil: Callable[[onnx.ModelProto], None], message: str) -> None:
    model = _model()
    spoil(model)
    with pytest.raises(Refused, match=message):
        describe(model.SerializeToString(), LIMITS)


def test_too_many_nodes_are_refused() -> None:
    with pytest.raises(Refused, match="more than 2 nodes"):
        describe(_model().SerializeToString(), OnnxLimits(max_nodes=2))


def test_an_archive_is_refused() -> None:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.onnx", bytes(10 << 20))
    with pytest.raises(Refused, match="archive"):
        describe(packed.getvalue(), LIMITS)


@pytest.mark.parametrize("kept", [0, 1, 7, 60])
def test_a_truncated_file_is_refused(kept: int) -> None:
    with pytest.raises(Refused, match="no ONNX file"):
        describe(_model().SerializeToString()[:kept], LIMITS)
