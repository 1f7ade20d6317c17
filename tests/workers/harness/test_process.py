"""The measuring process itself: a spec in, lines and files out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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
    assert [line.get("phase") for line in lines[:-1]] == ["loading", "warm-up", "warm-up", "timing"]
    assert lines[-1]["event"] == "result"
    assert lines[-1]["conditions"]["runtime"] == "null"
    index = json.loads((tmp_path / "index.json").read_text())
    values = np.fromfile(tmp_path / "samples.i64", dtype="<i8")
    assert len(values) == sum(count for *_, count in index["blocks"])
    assert values.min() >= 100_000
    assert [name for name, *_ in index["blocks"]].count("aa") == 4


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
    assert [backend["name"] for backend in found["backends"]] == ["null", "onnxruntime"]
    assert found["facts"]["device_model"]
    assert found["facts"]["max_threads"] >= 1


def test_it_ends_when_its_parent_is_another(tmp_path: Path) -> None:
    assert run(spec(tmp_path, {"base": b"a network"}, parent=1)) == []
