"""What a real TensorRT for RTX says about networks, without a GPU: what it takes, and what it refuses, by name."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from layerprune.api.errors import BadInput
from layerprune.api.precision import TensorRTTarget
from workers.tasks.parsing import REFUSES, Build, EarlyCheck, ask

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")

Net = Callable[..., bytes]
RTX = {"device": "card", "backend": "tensorrt-rtx", "precisions": ["fp32"]}


def determinant() -> bytes:
    """A network with an operator that TensorRT does not have."""
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 4, 4])
    answer = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    nodes = [
        helper.make_node("Relu", ["input"], ["positive"], name="first"),
        helper.make_node("Det", ["positive"], ["logits"], name="second"),
    ]
    graph = helper.make_graph(nodes, "network", [image], [answer])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture
def good(tmp_path: Path, conv_net: Net) -> Path:
    (tmp_path / "good.onnx").write_bytes(conv_net(depth=2))
    return tmp_path / "good.onnx"


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    (tmp_path / "bad.onnx").write_bytes(determinant())
    return tmp_path / "bad.onnx"


def test_a_network_is_parsed_and_built_for_cards_that_are_not_here(good: Path) -> None:
    builds = [Build(capability, "fp32") for capability in ("8.6", "8.9", "12.0")]
    answer = ask({good: builds})
    assert answer is not None
    assert (answer.library, answer.version.split(".")[0]) == ("tensorrt-rtx", "1")
    parsed = answer.files[good]
    assert parsed.problems == []
    assert parsed.layers >= 5
    assert [built.build for built in parsed.builds] == builds
    assert all(built.engine_bytes > 1000 and built.seconds > 0 for built in parsed.builds)


def test_an_unsupported_operator_is_refused_with_its_node(good: Path, bad: Path) -> None:
    answer = ask({bad: [Build("8.6", "fp32")], good: []})
    assert answer is not None
    (refusal,) = answer.files[bad].refusals
    assert (refusal.operator, refusal.node) == ("Det", "second")
    assert "driver" not in refusal.message, "that there is no GPU here says nothing about the network"
    assert answer.files[bad].builds == []
    assert answer.files[good].problems == []


def test_what_a_card_lacks_is_refused_by_the_build(good: Path) -> None:
    answer = ask({good: [Build("7.5", "fp32"), Build("8.6", "fp32")]})
    assert answer is not None
    old, new = answer.files[good].builds
    assert old.refusal is not None
    assert "FP32 GEMM" in old.refusal
    assert new.refusal is None


def test_a_file_of_another_precision_is_refused(good: Path) -> None:
    answer = ask({good: [Build("8.6", "int8")]})
    assert answer is not None
    (built,) = answer.files[good].builds
    assert built.refusal is not None
    assert "carries fp32, not int8" in built.refusal


def test_a_card_that_the_library_does_not_know_says_nothing_about_the_network(good: Path) -> None:
    answer = ask({good: [Build("8.7", "fp32")]})
    assert answer is not None
    (built,) = answer.files[good].builds
    assert built.unable is not None
    assert "SM87" in built.unable
    assert answer.files[good].problems == []


def test_what_is_no_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a network")
    answer = ask({tmp_path / "text.onnx": []})
    assert answer is not None
    assert answer.files[tmp_path / "text.onnx"].problems


def test_a_file_at_which_the_process_dies_is_refused_and_the_rest_goes_on(good: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone.onnx"
    answer = ask({gone: [], good: []})
    assert answer is not None
    assert "crashed" in answer.files[gone].refusals[0].message
    assert answer.files[good].problems == []


@pytest.fixture
def _nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "nothing"
    folder.mkdir()
    for name in ("tensorrt", "tensorrt_rtx"):
        (folder / f"{name}.py").write_text(f"raise ImportError('no {name} here')")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.usefixtures("_nothing_installed")
def test_without_tensorrt_there_is_a_note_and_no_refusal(bad: Path) -> None:
    assert ask({bad: []}) is None
    check = EarlyCheck([TensorRTTarget.model_validate(RTX)])
    check.try_out({"fp32": bad}, what="the base")
    assert check.refused({"one": [bad]}) == {}
    (note,) = check.notes
    assert "not checked before training" in note
    assert "pip install tensorrt-rtx" in note


def test_a_base_is_refused_with_operator_node_and_device(bad: Path) -> None:
    check = EarlyCheck([TensorRTTarget.model_validate(RTX)])
    with pytest.raises(BadInput) as caught:
        check.try_out({"fp32": bad}, what="the base")
    error = caught.value
    assert error.code == REFUSES
    assert error.value == ["Det"]
    assert error.message.startswith("TensorRT for RTX 1.")
    assert "does not take the base: Det at second" in error.message
    assert "card" in error.message


@pytest.mark.parametrize(("capability", "taken"), [("7.5", False), ("8.6", True), ("8.7", True), (None, True)])
def test_the_base_is_built_for_the_card_where_it_is_known(good: Path, capability: str | None, taken: bool) -> None:
    check = EarlyCheck([TensorRTTarget.model_validate(RTX | {"capability": capability})])
    if taken:
        check.try_out({"fp32": good}, what="the base")
    else:
        with pytest.raises(BadInput, match=r"compute capability 7.5, fp32: .*FP32 GEMM"):
            check.try_out({"fp32": good}, what="the base")


def test_candidates_are_refused_one_by_one(good: Path, bad: Path) -> None:
    check = EarlyCheck([TensorRTTarget.model_validate(RTX)])
    refused = check.refused({"a": [good], "b": [good, bad]})
    assert refused.keys() == {"b"}
    assert refused["b"][0].operator == "Det"


def test_the_command_says_what_is_refused_and_where(good: Path, bad: Path) -> None:
    command = [sys.executable, "-m", "layerprune.cli", "device", "parse", bad, good, "--sm", "86"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    refused, taken = json.loads(done.stdout)
    assert (refused["taken"], refused["builds"]) == (False, [])
    assert (refused["refusals"][0]["operator"], refused["refusals"][0]["node"]) == ("Det", "second")
    assert (taken["taken"], taken["builds"][0]["sm"]) == (True, 86)
    assert taken["builds"][0]["engine_bytes"] > 0
