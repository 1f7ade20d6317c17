"""The harness's own reader of ONNX files against the onnx package, and files that are none."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from workers.harness.errors import HarnessError
from workers.harness.layouts import one_convolution
from workers.harness.onnx_graph import FLOAT, read_graph


def network() -> onnx.ModelProto:
    weights = numpy_helper.from_array(np.zeros((8, 3, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", group=1, pads=[1, 1, 1, 1], auto_pad="NOTSET"),
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.ones(1, np.float32))),
        helper.make_node("Mul", ["c", "k"], ["y"], name="scale", domain=""),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, -1, 32])
    listed = helper.make_tensor_value_info("w", TensorProto.FLOAT, [8, 3, 3, 3])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph(nodes, "g", [image, listed], [answer], [weights]))


def test_nodes_tensors_and_open_dimensions_are_read() -> None:
    graph = read_graph(network().SerializeToString())
    conv, _, scale = graph.nodes
    assert (conv.name, conv.op, conv.inputs, conv.outputs) == ("conv", "Conv", ("x", "w"), ("c",))
    assert (conv.attributes["group"], conv.attributes["pads"]) == ((1,), (1, 1, 1, 1))
    assert scale.inputs == ("c", "k")
    assert graph.tensors["w"].dims == (8, 3, 3, 3)
    assert graph.tensors["k"].dims == (1,)
    (source,) = graph.inputs
    assert (source.name, source.element_type, source.dims) == ("x", FLOAT, (None, 3, None, 32))
    assert graph.outside() == []


def test_weights_in_another_file_are_seen() -> None:
    model = network()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    tensor.external_data.add(key="offset", value="0")
    (outside,) = read_graph(model.SerializeToString()).outside()
    assert (outside.name, outside.location) == ("w", "weights.bin")


def test_our_own_writer_agrees_with_the_onnx_package() -> None:
    written = one_convolution(6, 8, 2)
    model = onnx.load_model_from_string(written)
    onnx.checker.check_model(model, full_check=True)
    assert read_graph(written).tensors["w"].dims == (8, 3, 3, 3)
    assert read_graph(written).nodes[0].attributes["group"] == (2,)


@pytest.mark.parametrize(
    "content", [b"", b"hello, world", b"\x00" * 100, b"\xff" * 100, b'{"a": 1}', b"PK\x03\x04" * 9]
)
def test_what_is_no_network_is_refused(content: bytes) -> None:
    with pytest.raises(HarnessError, match="it is no ONNX file"):
        read_graph(content)


def test_a_part_of_a_file_is_refused_or_has_no_more_than_the_whole() -> None:
    whole = network().SerializeToString()
    for length in range(0, len(whole), 7):
        try:
            graph = read_graph(whole[:length])
        except HarnessError:
            continue
        assert len(graph.nodes) <= 3
