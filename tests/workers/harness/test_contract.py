"""One contract for all backends: each row of the table that is here is put to it, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from workers.conversion import can_convert, files_for
from workers.harness.backends import BACKENDS, PROGRAMS, load_backend
from workers.harness.backends.base import PARTS
from workers.harness.errors import HarnessError

SIZE = 8
BATCHES = (1, 3)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory, conv_net: Callable[..., bytes]) -> dict[str, Path]:
    """ONNX files: a good network, and others that nobody can load."""
    folder = tmp_path_factory.mktemp("networks")
    found = {
        "good": conv_net(size=SIZE),
        "nothing": b"",
        "text": b"no network",
        "no graph": b"\x08\x09",
        "unknown operator": _unknown_operator(),
        "external data": _external_data(),
    }
    for name, content in found.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in found}


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_every_backend_that_is_here_keeps_the_contract(
    backend: str, networks: dict[str, Path], tmp_path: Path, subtests: pytest.Subtests
) -> None:
    seen = put_to_the_test(backend, networks, tmp_path)
    with subtests.test("it says what it is"):
        assert seen["name"] == backend
        assert seen["version"]
        assert seen["precisions"]
        assert seen["max_opset"] >= 9
    with subtests.test("a run takes time on its clock"):
        assert all(session["run_ns"] > 0 for session in seen["sessions"].values())
    with subtests.test("evaluating leaves the timed input alone"):
        assert all(session["repeats"] for session in seen["sessions"].values())
    with subtests.test("outputs are float32"):
        assert {session["dtype"] for session in seen["sessions"].values()} == {"float32"}
    with subtests.test("parts are known ones, in order, and each has a time"):
        for session in seen["sessions"].values():
            assert session["parts"] == [name for name in PARTS if name in session["parts"]]
            assert len(session["parts_ns"]) == len(session["parts"])
            assert all(isinstance(value, int) and value >= 0 for value in session["parts_ns"])
    with subtests.test("an unknown setting is refused by name"):
        assert seen["unknown setting"]["code"] == "bad_input"
        assert "warp" in seen["unknown setting"]["message"]
    if backend == "null":
        return
    with subtests.test("it computes what ONNX Runtime does"):
        plain = onnxruntime.InferenceSession(str(networks["good"]), providers=["CPUExecutionProvider"])
        for batch in seen["sessions"]:
            expected = plain.run(None, {"input": np.load(tmp_path / f"images-{batch}.npy")})[0]
            outputs = np.load(tmp_path / f"outputs-{batch}.npy")
            assert outputs == pytest.approx(expected, rel=1e-4, abs=1e-5)
    with subtests.test("a network for another size is rejected"):
        assert seen["other size"]["code"] == "parse_rejected"
    for name, refused in seen["refusals"].items():
        with subtests.test(f"rejected with a remedy: {name}"):
            assert refused["code"] == "parse_rejected"
            assert refused["remedy"]
            # PyTorch gets programs: a bad network is refused when it is converted, see test_conversion.py.
            assert backend in PROGRAMS or name != "unknown operator" or "Unheard" in refused["message"]


def put_to_the_test(backend: str, networks: dict[str, Path], folder: Path) -> dict[str, Any]:
    """Run the contract's program on a backend and return what it saw; skips the test if it is not here."""
    for batch in BATCHES:
        images = np.random.default_rng(batch).standard_normal((batch, 3, SIZE, SIZE)).astype(np.float32)
        np.save(folder / f"images-{batch}.npy", images)
    files = dict(networks)
    if backend in PROGRAMS and is_here(backend):
        files |= converted(backend, networks)
    asked = {
        "good": str(files.pop("good")),
        "bad": {name: str(path) for name, path in files.items()},
        "folder": str(folder),
        "size": SIZE,
        "batches": BATCHES,
    }
    program = [sys.executable, str(Path(__file__).with_name("contract.py")), backend]
    done = subprocess.run(program, input=json.dumps(asked), capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    if "absent" in seen:
        pytest.skip(f"{backend}: {seen['absent']}")
    return seen


def converted(backend: str, networks: dict[str, Path]) -> dict[str, Path]:
    """The good network as a program, which all that need it share."""
    folder = networks["good"].with_name("programs")
    return files_for(backend, {"good": networks["good"]}, shape=(3, SIZE, SIZE), folder=folder)


@pytest.mark.skipif(not can_convert(), reason="programs cannot be made here, torch or onnx is missing")
def test_a_network_is_converted_once(networks: dict[str, Path]) -> None:
    made = converted("torch", networks)["good"]
    written = made.stat().st_mtime_ns
    assert converted("torch-compile", networks)["good"] == made
    assert made.stat().st_mtime_ns == written
    assert files_for("torch", {"again": made}, shape=(3, SIZE, SIZE), folder=made.parent) == {"again": made}


def is_here(backend: str) -> bool:
    try:
        load_backend(backend)
    except HarnessError:
        return False
    return can_convert()


def _model(nodes: list[Any], weights: list[Any]) -> bytes:
    images = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "network", [images], [logits], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def _unknown_operator() -> bytes:
    return _model([helper.make_node("Unheard", ["input"], ["logits"], name="odd")], [])


def _external_data() -> bytes:
    weight = TensorProto(name="kernel", data_type=TensorProto.FLOAT, dims=[4, 3, 3, 3])
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    return _model([helper.make_node("Conv", ["input", "kernel"], ["logits"])], [weight])
