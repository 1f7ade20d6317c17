"""The measuring process itself: a spec in, lines and files out."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

import workers

PACKAGE = Path(workers.__file__).parent
PLAN = {
    "cycles": 2,
    "block_ms": 2.0,
    "warmup_min_s": 0.01,
    "warmup_later_min_s": 0.01,
    "warmup_min_runs": 5,
    "warmup_cap_s": 0.2,
}


def spec(folder: Path, networks: dict[str, bytes], **changes: Any) -> dict[str, Any]:
    paths = {}
    for name, network in networks.items():
        paths[name] = str(folder / f"{name}.onnx")
        Path(paths[name]).write_bytes(network)
    asked = {
        "backend": "null",
        "precision": "fp32",
        "threads": 1,
        "shape": [1, 3, 8, 8],
        "networks": paths,
        "plan": PLAN,
        "seed": 1,
        "folder": str(folder),
        "evaluate": None,
    }
    return asked | changes


def with_nan(network: bytes) -> bytes:
    """The network with a weight of its last layer that is no number."""
    model = onnx.load_model_from_string(network)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "head")
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] = np.nan
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    return model.SerializeToString()


def run(
    request: dict[str, Any], *, module: str = "workers.harness", path: Path = PACKAGE.parent
) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(path)},
        cwd="/",
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_spec_gives_progress_samples_and_a_result(tmp_path: Path) -> None:
    lines = run(spec(tmp_path, {"base": b"a network", "aa": b"a network"}))
    assert [phase for phase, _ in itertools.groupby(line.get("phase") for line in lines[:-1])] == [
        "loading",
        "warm-up",
        "timing",
    ]
    assert lines[-1]["event"] == "result"
    assert lines[-1]["conditions"]["runtime"] == "null"
    index = json.loads((tmp_path / "index.json").read_text())
    values = np.fromfile(tmp_path / "samples.i64", dtype="<i8")
    assert len(values) == sum(count for *_, count in index["blocks"])
    assert values.min() >= 100_000
    assert [name for name, *_ in index["blocks"]].count("aa") == 4


def test_parts_of_an_inference_are_kept_beside_the_samples(tmp_path: Path) -> None:
    with_parts = b'{"latency_ns": 1000000, "noise": 0, "parts": {"enqueue": 0.25, "device": 0.5}}'
    run(spec(tmp_path, {"base": b"a network", "v": with_parts}))
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["parts"] == {"base": [], "v": ["device", "enqueue"]}
    rows = np.fromfile(tmp_path / "parts.i64", dtype="<i8").reshape(-1, 2)
    assert len(rows) == sum(count for name, *_, count in index["blocks"] if name == "v")
    assert {tuple(row) for row in rows} == {(500_000, 250_000)}


def test_loading_the_first_inference_and_memory_are_told_of_each_network(
    tmp_path: Path, conv_net: Callable[..., bytes]
) -> None:
    networks = {"base": conv_net(), "large": conv_net(channels=256, depth=4)}
    facts = run(spec(tmp_path, networks, backend="onnxruntime"))[-1]["facts"]
    assert all(found["load_ns"] > 0 and found["first_inference_ns"] > 0 for found in facts.values())
    assert facts["large"]["peak_memory_bytes"] > 4 * 4 * 256 * 256 * 9
    assert all(found["output_finite"] is True for found in facts.values())


def test_outputs_that_are_no_numbers_are_told(tmp_path: Path, conv_net: Callable[..., bytes]) -> None:
    facts = run(spec(tmp_path, {"base": with_nan(conv_net())}, backend="onnxruntime"))[-1]["facts"]
    assert facts["base"]["output_finite"] is False


def test_images_per_second_come_from_a_pass_of_their_own(tmp_path: Path) -> None:
    extras = {"sessions": ["base"], "batches": [1, 4], "throughput_s": 0.05}
    lines = run(spec(tmp_path, {"base": b'{"latency_ns": 1000000, "noise": 0}', "aa": b"x"}, extras=extras))
    assert lines[-2]["phase"] == "throughput"
    assert lines[-1]["facts"]["base"]["throughput"] == [
        {"batch_size": 1, "images_per_s": 1000.0},
        {"batch_size": 4, "images_per_s": 1000.0},
    ]
    assert "throughput" not in lines[-1]["facts"]["aa"]


def test_a_network_larger_than_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    asked = spec(tmp_path, {"base": b""})
    with Path(asked["networks"]["base"]).open("wb") as file:
        file.truncate(2**42)
    last = run(asked)[-1]
    assert (last["event"], last["code"]) == ("error", "oom")
    assert "a network of 4194304 MB cannot fit into the" in last["message"]


def test_only_the_folder_above_is_needed_on_the_path(tmp_path: Path) -> None:
    lines = run(spec(tmp_path, {"base": b"a network"}), module="harness", path=PACKAGE)
    assert lines[-1]["event"] == "result"


def test_onnxruntime_is_timed_and_evaluated(tmp_path: Path, conv_net: Callable[..., bytes]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    header = {"format": "lp-eval-1", "n": 5, "height": 8, "width": 8, "channels": 3, "classes": 10}
    pack = tmp_path / "pack"
    pack.write_bytes(json.dumps(header).encode() + b"\n" + images.tobytes() + np.zeros(5, "<u2").tobytes())
    np.save(tmp_path / "reference.npy", np.full((2, 10), 1e3, dtype=np.float32))
    evaluate = {
        "pack": str(pack),
        "preprocess": {"channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3},
        "references": {"base": str(tmp_path / "reference.npy")},
    }
    asked = spec(tmp_path, {"base": conv_net()}, backend="onnxruntime", evaluate=evaluate, shape=[2, 3, 8, 8])
    result = run(asked)[-1]
    assert result["conditions"]["runtime_flags"]["force_spinning_stop"] is True
    assert result["conditions"]["batch_size"] == 2
    answer = result["accuracies"]["base"]
    assert (answer["n"], answer["agrees"]) == (5, False)
    assert answer["max_relative_difference"] > 0.5


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"backend": "warp"}, "bad_input", "known: null, onnxruntime"),
        ({"precision": "int4"}, "bad_input", "has no precision 'int4'; it has: fp32"),
        ({"threads": 4096}, "bad_input", "4096 threads were asked for"),
        ({"shape": "wide"}, "bad_input", "spec is broken"),
        ({"backend": "onnxruntime"}, "parse_rejected", "refuses the network"),
    ],
    ids=["backend", "precision", "threads", "shape", "network"],
)
def test_what_cannot_be_measured_is_an_error_line(
    tmp_path: Path, changes: dict[str, Any], code: str, words: str
) -> None:
    last = run(spec(tmp_path, {"base": b"a network"}, **changes))[-1]
    assert (last["event"], last["code"]) == ("error", code)
    assert words in last["message"]


def test_a_description_names_runtimes_and_machine() -> None:
    found = run({"describe": True})[-1]
    assert {"null", "onnxruntime"} <= {backend["name"] for backend in found["backends"]}
    assert found["facts"]["device_model"]
    assert found["facts"]["max_threads"] >= 1


def test_it_ends_when_its_parent_is_another(tmp_path: Path) -> None:
    assert run(spec(tmp_path, {"base": b"a network"}, parent=1)) == []
