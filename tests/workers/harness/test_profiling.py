"""Layer profiles from the real ONNX Runtime: times by layer of the original file, layouts, and the rule behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from workers.harness import profiling
from workers.harness.errors import HarnessError
from workers.harness.layouts import Rule, find_rule
from workers.harness.loop import Plan
from workers.harness.profiling import node_times, profile
from workers.harness.spec import Spec

SIZE = 32


def chain(channels: Sequence[int]) -> bytes:
    """Convolutions with batch norm and ReLU, the last two added up, then a classifier."""
    random = np.random.default_rng(0)
    nodes, tensors, last, width = [], [], "input", 3

    def store(name: str, *shape: int) -> str:
        values = random.uniform(0.5, 1.0, shape).astype(np.float32) / 8
        tensors.append(numpy_helper.from_array(values, name))
        return name

    for i, count in enumerate(channels):
        conv = [last, store(f"conv{i}.weight", count, width, 3, 3)]
        nodes.append(helper.make_node("Conv", conv, [f"c{i}"], name=f"/conv{i}/Conv", pads=[1, 1, 1, 1]))
        norm = [f"c{i}", *(store(f"norm{i}.{part}", count) for part in ("weight", "bias", "mean", "var"))]
        nodes.append(helper.make_node("BatchNormalization", norm, [f"n{i}"], name=f"/norm{i}/BatchNormalization"))
        nodes.append(helper.make_node("Relu", [f"n{i}"], [f"r{i}"], name=f"/relu{i}/Relu"))
        last, width = f"r{i}", count
    nodes.append(helper.make_node("Add", [f"r{len(channels) - 2}", last], ["sum"], name="/Add"))
    nodes.append(helper.make_node("GlobalAveragePool", ["sum"], ["pooled"], name="/pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], name="/flatten"))
    head = ["flat", store("fc.weight", 10, width), store("fc.bias", 10)]
    nodes.append(helper.make_node("Gemm", head, ["logits"], name="/fc/Gemm", transB=1))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    answer = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "chain", [image], [answer], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def profiled(folder: Path, backend: str = "onnxruntime", **networks: bytes) -> dict[str, Any]:
    paths = {}
    for name, content in networks.items():
        paths[name] = folder / f"{name}.onnx"
        paths[name].write_bytes(content)
    spec = Spec(backend, "fp32", 1, (1, 3, SIZE, SIZE), paths, Plan(), 0, folder, None)
    return profile(spec, lambda phase, **_: None)


@pytest.fixture(scope="module", autouse=True)
def _in_a_hurry() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiling, "WARMUP_S", 0.05)
        patch.setattr(profiling, "AIM_S", 0.2)
        yield


@pytest.fixture(scope="module")
def rule() -> Rule:
    return find_rule()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("profile")
    return profiled(folder, whole=chain([32, 32, 32]), pruned=chain([32, 27, 27]))


def layers(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return list(found["networks"][name]["layers"])


def test_every_layer_of_the_file_has_a_time(found: dict[str, Any]) -> None:
    assert [one["name"] for one in layers(found, "whole")] == ["/conv0/Conv", "/conv1/Conv", "/conv2/Conv", "/fc/Gemm"]
    assert all(one["ns"] > 0 for one in layers(found, "whole"))


def test_layers_and_everything_else_make_up_an_inference(found: dict[str, Any]) -> None:
    for network in found["networks"].values():
        parts = sum(one["ns"] for one in [*network["layers"], *network["others"]])
        assert parts == pytest.approx(network["run_ns"])


def test_macs_follow_from_the_shapes(found: dict[str, Any]) -> None:
    macs = [one["macs"] for one in layers(found, "pruned")]
    assert macs == [SIZE**2 * 9 * pair for pair in (3 * 32, 32 * 27, 27 * 27)] + [270]


def test_the_input_of_a_grown_batch_counts_as_often(tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    path.write_bytes(chain([16, 16]))
    spec = Spec("onnxruntime", "fp32", 1, (4, 3, SIZE, SIZE), {"n": path}, Plan(), 0, tmp_path, None)
    found = profile(spec, lambda phase, **_: None)
    assert [one["macs"] for one in layers(found, "n")] == [4 * SIZE**2 * 9 * 3 * 16, 4 * SIZE**2 * 9 * 16 * 16, 4 * 160]


def test_layouts_and_reorders_are_seen(found: dict[str, Any], rule: Rule) -> None:
    if not rule.input_step:
        pytest.skip("ONNX Runtime has no blocked layout for this processor")
    assert [one["layout"] for one in layers(found, "whole")] == ["blocked", "blocked", "blocked", ""]
    # 27 channels come out of a blocked convolution, but cannot go into one.
    assert [one["layout"] for one in layers(found, "pruned")] == ["blocked", "blocked", "plain", ""]
    reorders = [one for one in found["networks"]["pruned"]["others"] if one["op"] == "ReorderOutput"]
    assert sum(one["count"] for one in reorders) >= 1


def test_the_counts_that_the_rule_names_are_blocked_in_a_real_network(tmp_path: Path, rule: Rule) -> None:
    if not rule.input_step:
        pytest.skip("ONNX Runtime has no blocked layout for this processor")
    counts = rule.regaining(27, 27, 1)["in_channels"]
    assert counts[0] < 27 < counts[1]
    networks = {f"n{count}": chain([32, count, count]) for count in counts}
    found = profiled(tmp_path, **networks)
    for name in networks:
        assert [one["layout"] for one in layers(found, name)][:3] == ["blocked"] * 3


def test_the_rule_says_nothing_of_counts_that_fit() -> None:
    rule = Rule(input_step=4, output_step=1, depthwise_step=16, few_inputs=15)
    assert rule.regaining(32, 27, 1) == {}
    assert rule.regaining(3, 27, 1) == {}
    assert rule.regaining(27, 27, 1) == {"in_channels": [24, 28]}
    assert rule.regaining(20, 20, 20) == {"out_channels": [16, 32]}
    assert rule.regaining(20, 20, 2) == {}
    assert Rule(0, 0, 0, 0).regaining(27, 27, 1) == {}


def test_the_time_of_a_node_is_that_of_the_last_runs() -> None:
    def event(dur: int) -> dict[str, Any]:
        args = {"output_type_shape": [{"float": [1, 8, 4, 4]}]}
        return {"cat": "Node", "name": "a_kernel_time", "dur": dur, "args": args}

    found = node_times([event(900), event(9), event(10), event(10), event(11), {"cat": "Session", "name": "x"}], 4)
    assert found["a"].ns == 10_500
    assert found["a"].shape == (1, 8, 4, 4)


def test_layers_without_names_are_timed_too(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(chain([32, 27, 32, 32]))
    for node in model.graph.node:
        node.ClearField("name")
    found = layers(profiled(tmp_path, n=bytes(model.SerializeToString())), "n")
    assert [one["name"] for one in found] == ["c0", "c1", "c2", "c3", "logits"]
    assert all(one["ns"] for one in found)
    assert found[2]["macs"] == SIZE**2 * 9 * 27 * 32


def test_another_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="layers are profiled in onnxruntime, not in null"):
        profiled(tmp_path, backend="null", n=chain([8, 8]))


def test_a_file_that_the_runtime_refuses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as caught:
        profiled(tmp_path, n=b"nonsense")
    assert caught.value.code == "parse_rejected"
