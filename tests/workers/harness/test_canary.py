"""The canary network: its bytes can be made again, and what timing it gives. Run this file to write the network."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from workers.harness.backends import load_backend
from workers.harness.backends.null import NullBackend
from workers.harness.canary import NETWORK, SHAPE, Canary
from workers.harness.errors import HarnessError

CHANNELS, CONVOLUTIONS, OPSET, IR_VERSION = 16, 6, 11, 6


def network() -> bytes:
    """Convolutions with ReLU, mean over the image, ten classes; weights from a fixed seed, scaled to keep the range."""
    rng = np.random.RandomState(0)
    nodes, weights, width, last = [], [], SHAPE[1], "input"
    for i in range(CONVOLUTIONS):
        values = (rng.standard_normal((CHANNELS, width, 3, 3)) * np.sqrt(2 / (9 * width))).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{i}"))
        nodes.append(helper.make_node("Conv", [last, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        width, last = CHANNELS, f"r{i}"
    weights.append(numpy_helper.from_array(rng.standard_normal((CHANNELS, 10)).astype(np.float32), "head"))
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["mean"]))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"], axis=1))
    nodes.append(helper.make_node("MatMul", ["flat", "head"], ["output"]))
    graph = helper.make_graph(
        nodes,
        "canary",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 10))],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def test_the_committed_network_is_the_one_that_is_made_here() -> None:
    assert NETWORK.read_bytes() == network()
    assert len(network()) < 100_000


def test_a_steady_clock_gives_the_same_median_twice() -> None:
    canary = Canary(NullBackend(), threads=1)
    canary.time()
    canary.time()
    found = canary.result()
    assert found is not None
    assert found["end_ns"] == pytest.approx(found["start_ns"], rel=0.01)
    # 0.1 ms and a nanosecond per byte each, for 0.2 s twice.
    assert found["start_ns"] == pytest.approx(100_000 + len(network()), rel=0.02)
    assert found["runs"] == pytest.approx(2 * 200_000_000 / found["start_ns"], rel=0.05)


def test_onnxruntime_times_it() -> None:
    canary = Canary(load_backend("onnxruntime"), threads=1)
    canary.time()
    found = canary.result()
    assert found is not None
    assert 20 <= found["runs"] <= 5000
    assert 10_000 < found["start_ns"] < 1_000_000_000


def test_a_runtime_that_refuses_the_network_has_no_canary() -> None:
    class Refusing(NullBackend):
        def load(self, onnx: bytes, **_: Any) -> Any:
            raise HarnessError("parse_rejected", "no")

    canary = Canary(Refusing(), threads=1)
    canary.time()
    assert canary.result() is None


if __name__ == "__main__":
    NETWORK.write_bytes(network())
