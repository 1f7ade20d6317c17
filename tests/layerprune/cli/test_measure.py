"""`layerprune measure` on real networks in ONNX Runtime, and everything that it refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from workers.harness.backends import BACKENDS
from workers.hostlock import HostLock

Run = Callable[..., "subprocess.CompletedProcess[str]"]
FIELDS = ["file", "backend", "p50_ns", "p90_ns", "p99_ns", "n_samples", "ratio", "low_ratio", "control"]
FIELDS += ["difference", "verdict", "flags", "seconds"]


def network(
    depth: int, *, dims: tuple[object, ...] = ("batch", 3, 16, 16), fill: float | None = None, op: str = "Relu"
) -> onnx.ModelProto:
    """So many convolutions of 16 channels, pooled and classified."""
    random = np.random.default_rng(0)
    nodes, tensors, last, width = [], [], "input", 3
    for i in range(depth):
        kernel = random.standard_normal((16, width, 3, 3)).astype(np.float32) / 12
        tensors.append(numpy_helper.from_array(kernel if fill is None else np.full_like(kernel, fill), f"w{i}"))
        nodes.append(helper.make_node("Conv", [last, f"w{i}"], [f"c{i}"], pads=[1] * 4))
        nodes.append(helper.make_node(op, [f"c{i}"], [f"r{i}"]))
        last, width = f"r{i}", 16
    tensors.append(numpy_helper.from_array(random.standard_normal((16, 10)).astype(np.float32), "head"))
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, list(dims))
    answer = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "network", [image], [answer], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("networks")
    made = {
        "base": network(8),
        "half": network(4),
        "open": network(2, dims=("batch", 3, "height", "width")),
        "fixed": network(2, dims=(4, 3, 16, 16)),
        "small": network(2, dims=("batch", 3, 8, 8)),
        "nan": network(2, fill=float("nan")),
        "unknown": network(2, op="Wobble"),
    }
    two = network(2)
    two.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
    whole = network(2)
    whole.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    outside = network(2)
    outside.graph.initializer[0].ClearField("raw_data")
    outside.graph.initializer[0].data_location = TensorProto.EXTERNAL
    outside.graph.initializer[0].external_data.add(key="location", value="weights.bin")
    for name, model in (made | {"two": two, "whole": whole, "outside": outside}).items():
        (place / f"{name}.onnx").write_bytes(model.SerializeToString())
    (place / "cut.onnx").write_bytes((place / "base.onnx").read_bytes()[:300])
    (place / "text.onnx").write_text("not a network")
    return place


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Locks of this test's own: tests beside it measure, too."""
    monkeypatch.setenv("LAYERPRUNE_LOCK_DIR", str(tmp_path / "locks"))
    return tmp_path / "locks"


def test_a_faster_network_is_told_with_its_interval(folder: Path, by_hand: Run) -> None:
    done = by_hand("measure", "base.onnx", "half.onnx", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    base, half = json.loads(done.stdout)
    assert list(base) == list(half) == FIELDS
    assert (base["file"], base["difference"], base["ratio"]) == (
        "base.onnx",
        "base",
        {"value": 1.0, "ci_low": 1.0, "ci_high": 1.0},
    )
    assert (half["file"], half["backend"], half["difference"]) == ("half.onnx", "onnxruntime", "faster")
    assert 0.3 < half["ratio"]["ci_low"] < half["ratio"]["value"] < half["ratio"]["ci_high"] < 0.8
    assert half["p50_ns"] < base["p50_ns"]
    assert half["seconds"] > 0.5
    assert "single_process" in half["flags"]
    assert half["verdict"] in ("stable", "flagged")


def test_the_null_runtime_gives_the_same_numbers_every_time(folder: Path, by_hand: Run) -> None:
    def measured() -> object:
        done = by_hand("measure", "base.onnx", "half.onnx", "--backend", "null", "--json", cwd=folder)
        return [one | {"seconds": 0, "flags": [], "verdict": ""} for one in json.loads(done.stdout)]

    assert measured() == measured()


def test_one_file_alone_is_compared_with_itself(folder: Path, by_hand: Run) -> None:
    done = by_hand("measure", "base.onnx", "--backend", "null", "--json", cwd=folder)
    (base,) = json.loads(done.stdout)
    assert base["control"]["ci_low"] < 1 < base["control"]["ci_high"]
    assert base["difference"] == "base"


def test_the_same_file_twice_is_no_difference(folder: Path, by_hand: Run) -> None:
    done = by_hand("measure", "base.onnx", "base.onnx", "--backend", "null", "--json", cwd=folder)
    assert [one["difference"] for one in json.loads(done.stdout)] == ["base", "tie"]


def test_many_files_are_measured_in_groups(folder: Path, by_hand: Run) -> None:
    files = ["base.onnx", *["half.onnx"] * 9]
    done = by_hand("measure", *files, "--backend", "null", "--json", cwd=folder)
    found = json.loads(done.stdout)
    assert [one["file"] for one in found] == files
    assert {one["difference"] for one in found[1:]} == {"faster"}


def test_several_runtimes_each_have_their_own_rows(folder: Path, by_hand: Run) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed here")
    both = ("--backend", "onnxruntime", "--backend", "openvino")
    done = by_hand("measure", "base.onnx", *both, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one["backend"] for one in found] == ["onnxruntime", "openvino"]
    assert all("output_mismatch" not in one["flags"] for one in found)


def test_a_runtime_that_answers_otherwise_is_invalid(folder: Path, by_hand: Run) -> None:
    # The null runtime answers zeros.
    both = ("--backend", "onnxruntime", "--backend", "null")
    done = by_hand("measure", "half.onnx", *both, "--json", cwd=folder)
    right, wrong = json.loads(done.stdout)
    assert "output_mismatch" not in right["flags"]
    assert (wrong["verdict"], "output_mismatch" in wrong["flags"]) == ("invalid", True)


def test_open_sizes_come_from_the_shape(folder: Path, by_hand: Run) -> None:
    done = by_hand("measure", "open.onnx", "--shape", "3x20x24", "--backend", "null", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "batch 1 of 3x20x24" in done.stdout


def test_a_fixed_batch_is_taken_as_it_is(folder: Path, by_hand: Run) -> None:
    done = by_hand("measure", "fixed.onnx", "--backend", "null", cwd=folder)
    assert "batch 4 of 3x16x16" in done.stdout


def test_people_get_a_table_with_intervals_words_and_a_drawing(folder: Path, by_hand: Run) -> None:
    done = by_hand("measure", "base.onnx", "half.onnx", "--backend", "null", "--draw", cwd=folder)
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("half.onnx"))
    assert "faster" in row
    assert "o" in row.split("faster")[1]
    assert "The first file against itself: " in done.stdout
    assert "single_process (base.onnx, half.onnx): All samples come from one process" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message", "remedy"),
    [
        (("gone.onnx",), "gone.onnx: there is no such file", "Check the path"),
        (("text.onnx",), "text.onnx: it is no ONNX file", "complete .onnx file"),
        (("cut.onnx",), "cut.onnx: it is no ONNX file, or a part of one", "complete .onnx file"),
        (("outside.onnx",), "the weights of 1 tensors lie in other files ('w0' in 'weights.bin')", "one file"),
        (("two.onnx",), "two.onnx: it has 2 inputs (input, mask)", "one float32 image input"),
        (("whole.onnx",), "its input 'input' is not float32", "one float32 image input"),
        (("open.onnx",), "its input leaves sizes open: 3x?x?", "--shape 3x224x224"),
        (("open.onnx", "--shape", "1x16x16"), "it takes 3x?x?, and --shape says 1x16x16", "a shape that fits"),
        (("open.onnx", "--shape", "3x0x16"), "'3x0x16' is no shape", "--shape 3x224x224"),
        (("fixed.onnx", "--batch", "2"), "its batch is fixed at 4, and --batch says 2", "--batch 4"),
        (("base.onnx", "small.onnx"), "small.onnx: it takes a batch of 1 of 3x8x8, base.onnx takes", "same input"),
        (("base.onnx", "--backend", "tensorflow"), "unknown backend 'tensorflow'; known: ", "known names"),
        (("base.onnx", "--threads", "999"), "999 threads were asked for, but only", "at most"),
        (("base.onnx", "--precision", "fp4"), "has no precision 'fp4'", "one of these"),
        (("base.onnx", "--setting", "graph"), "'graph' is not NAME=VALUE", "cuda_graph=true"),
        (("base.onnx", "--setting", "graph=1"), "graph", ""),
        (
            ("base.onnx", "--backend", "null", "--backend", "onnxruntime", "--setting", "a=1"),
            "settings belong to one backend",
            "one --backend",
        ),
        (("base.onnx", "--python", "/no/python"), "there is no interpreter /no/python", "3.8"),
        (("base.onnx", "nan.onnx"), "nan.onnx: 10 of its 10 outputs are NaN", "weights"),
    ],
)
def test_bad_input_is_named_with_its_remedy(
    arguments: tuple[str, ...], message: str, remedy: str, folder: Path, by_hand: Run
) -> None:
    done = by_hand("measure", *arguments, "--json", cwd=folder)
    assert message in done.stderr
    assert remedy in done.stderr
    assert (done.returncode, done.stdout) == (2, "")


def test_an_operator_that_the_runtime_does_not_know_is_named(folder: Path, by_hand: Run) -> None:
    done = by_hand("measure", "base.onnx", "unknown.onnx", "--json", cwd=folder)
    assert "Error: unknown.onnx: " in done.stderr
    assert "Wobble" in done.stderr
    assert (done.returncode, done.stdout) == (1, "")


def test_a_backend_that_is_not_installed_says_so(folder: Path, by_hand: Run) -> None:
    missing = ["tensorrt"] if "tensorrt" in BACKENDS else []
    if not missing or importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("every known runtime is installed here")
    done = by_hand("measure", "base.onnx", "--backend", missing[0], cwd=folder)
    assert done.returncode == 2
    assert "is not installed here" in done.stderr


def test_a_machine_that_somebody_else_uses_is_refused(folder: Path, by_hand: Run, locks: Path) -> None:
    with HostLock(locks).building():
        done = by_hand("measure", "base.onnx", "--json", cwd=folder)
    assert "somebody else builds or measures on this machine" in done.stderr
    assert "--wait" in done.stderr
    assert (done.returncode, done.stdout) == (1, "")


def test_an_interruption_ends_every_process(folder: Path) -> None:
    command = [sys.executable, "-m", "layerprune.cli", "measure", "base.onnx", "--budget", "thorough"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        children = wait_for_children(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def wait_for_children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The measuring process, once it is there."""
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        children = psutil.Process(process.pid).children(recursive=True)
        if children:
            return children
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.05)
    raise AssertionError("no measuring process was started")
