"""`layerprune why` on real networks: pruned to counts that fit no block, and to counts that do."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from workers.harness.layouts import find_rule

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def save(path: Path, channels: tuple[int, ...]) -> None:
    """A chain of named convolutions, pooled and classified."""
    random = np.random.default_rng(0)
    nodes, tensors, last, width = [], [], "input", 3
    for i, count in enumerate(channels):
        kernel = random.standard_normal((count, width, 3, 3)).astype(np.float32) / 20
        tensors.append(numpy_helper.from_array(kernel, f"conv{i}.weight"))
        nodes.append(
            helper.make_node("Conv", [last, f"conv{i}.weight"], [f"c{i}"], name=f"/conv{i}/Conv", pads=[1] * 4)
        )
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"], name=f"/relu{i}/Relu"))
        last, width = f"r{i}", count
    tensors.append(numpy_helper.from_array(random.standard_normal((width, 10)).astype(np.float32), "fc.weight"))
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["pooled"], name="/pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="/flatten"),
        helper.make_node("MatMul", ["flat", "fc.weight"], ["logits"], name="/fc/MatMul"),
    ]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 32, 32])
    answer = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "chain", [image], [answer], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not find_rule().input_step:
        pytest.skip("ONNX Runtime has no blocked layout for this processor")
    place = tmp_path_factory.mktemp("why")
    save(place / "base.onnx", (32, 32, 32, 32))
    save(place / "odd.onnx", (32, 27, 32, 32))
    save(place / "short.onnx", (32, 32, 32))
    return place


@pytest.fixture(autouse=True)
def _locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERPRUNE_LOCK_DIR", str(tmp_path / "locks"))


def test_lost_layouts_are_found_with_the_counts_that_regain_them(folder: Path, by_hand: Run) -> None:
    done = by_hand("why", "base.onnx", "odd.onnx", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    lost = [pair for pair in found["layers"] if pair["lost_layout"]]
    assert [pair["name"] for pair in lost] == ["/conv2/Conv"]
    assert all(27 not in counts for pair in lost for counts in pair["regain"].values())
    assert all(pair["regain"]["in_channels"] for pair in lost)
    assert found["base_blocked"] - found["variant_blocked"] == 1
    assert found["variant_reorders"]["count"] > found["base_reorders"]["count"]
    assert "1 convolution lost the runtime's blocked layout" in " ".join(found["sentences"])


def test_a_removed_layer_loses_no_layout(folder: Path, by_hand: Run) -> None:
    done = by_hand("why", "base.onnx", "short.onnx", "--json", cwd=folder)
    found = json.loads(done.stdout)
    assert [pair["name"] for pair in found["layers"] if pair["variant"] is None] == ["/conv3/Conv"]
    assert not any(pair["lost_layout"] for pair in found["layers"])
    assert found["lost_layout_ns"] == 0


def test_people_get_a_table_and_sentences(folder: Path, by_hand: Run) -> None:
    done = by_hand("why", "base.onnx", "odd.onnx", cwd=folder)
    row = next(line for line in done.stdout.splitlines() if line.startswith("conv2 "))
    assert "blocked > plain" in row
    assert "27 > 32" in row
    assert "of the base's MACs and takes" in done.stdout


def test_networks_that_take_other_inputs_are_refused(folder: Path, tmp_path: Path, by_hand: Run) -> None:
    done = by_hand("why", "base.onnx", "gone.onnx", cwd=folder)
    assert done.returncode == 2
    assert "gone.onnx: there is no such file" in done.stderr
