"""Runtimes that read no ONNX get programs that are made from it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from layerprune.api.errors import LayerPruneError
from workers.conversion import files_for

SHAPE = (3, 8, 8)


def test_a_runtime_that_reads_onnx_gets_it_as_it_is(tmp_path: Path) -> None:
    networks = {"base": tmp_path / "base.onnx"}
    assert files_for("onnxruntime", networks, shape=SHAPE, folder=tmp_path / "made") == networks
    assert not (tmp_path / "made").exists()


def test_an_operator_that_torch_cannot_take_is_named(tmp_path: Path) -> None:
    images = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *SHAPE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Unheard", ["input"], ["logits"])], "network", [images], [logits])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "odd.onnx")
    with pytest.raises(LayerPruneError, match="cannot be measured with PyTorch: .*Unheard") as caught:
        files_for("torch", {"base": tmp_path / "odd.onnx"}, shape=SHAPE, folder=tmp_path / "made")
    assert caught.value.code == "parse_rejected"
    assert caught.value.remedy
