"""The table of runtimes, and what single ones do beyond the contract (test_contract.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from workers.harness.backends import load_backend
from workers.harness.backends.base import Options, Session, check_settings
from workers.harness.backends.onnxruntime import newest_opset
from workers.harness.backends.torch import make_room
from workers.harness.errors import HarnessError

Net = Callable[..., bytes]


def load(network: bytes, *, batch: int = 1, threads: int = 1, size: int = 8, backend: str = "onnxruntime") -> Session:
    shape = (batch, 3, size, size)
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return load_backend(backend).load(
        network, shape=shape, threads=threads, precision="fp32", data=data, options=Options()
    )


def test_reading_the_table_imports_no_runtime() -> None:
    program = (
        "import sys; import workers.harness.backends;"
        "print({'onnxruntime', 'openvino', 'tensorrt', 'tensorrt_rtx', 'torch'} & sys.modules.keys())"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(HarnessError, match="unknown backend 'warp'; known: null, onnxruntime, "):
        load_backend("warp")


@pytest.mark.parametrize("name", ["onnxruntime-cuda", "onnxruntime-tensorrt", "onnxruntime-tensorrt-rtx", "torch-cuda"])
def test_a_backend_whose_hardware_or_package_is_missing_says_so(name: str) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU here")
    with pytest.raises(HarnessError, match="needs an NVIDIA driver|is not installed here") as caught:
        load_backend(name)
    assert caught.value.code == "bad_input"
    assert caught.value.remedy


def test_loading_does_no_inference(conv_net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", lambda *_, **__: runs.append("run"))
    monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", lambda *_, **__: runs.append("bound"))
    session = load(conv_net())
    assert runs == []
    session.run()
    assert runs == ["bound"]


@pytest.mark.parametrize(("version", "opset"), [("1.11.0", 16), ("1.16.3", 19), ("1.18.0", 21), ("1.32.0", 21)])
def test_an_old_onnxruntime_reads_older_opsets_only(version: str, opset: int) -> None:
    assert newest_opset(version) == opset


def test_compiled_networks_make_room_for_newer_ones(tmp_path: Path) -> None:
    folder = tmp_path / "compiled"
    folder.mkdir()
    for age, name in enumerate(["new", "middle", "old"]):
        (folder / name).write_bytes(b"x" * 100)
        os.utime(folder / name, (1000 - age, 1000 - age))
    make_room(folder, 250)
    assert {path.name for path in folder.iterdir()} == {"new", "middle"}
    make_room(folder, 0)
    assert [path.name for path in folder.iterdir()] == ["new"]


def test_settings_of_another_type_are_refused() -> None:
    with pytest.raises(HarnessError, match="the setting cuda_graph of torch-cuda is 'yes', which is no bool"):
        check_settings("torch-cuda", {"cuda_graph": "yes"}, {"cuda_graph": bool})


def test_the_null_backend_lets_only_its_own_time_pass() -> None:
    backend = load_backend("null")
    session = backend.load(
        b'{"latency_ns": 2000, "noise": 0}',
        shape=(4, 3, 8, 8),
        threads=2,
        precision="fp32",
        data=np.zeros(1),
        options=Options(),
    )
    before = backend.clock()
    session.run()
    assert backend.clock() - before == 4000


def test_the_null_backend_is_repeatable() -> None:
    def times() -> list[int]:
        backend, found = load_backend("null"), []
        session = backend.load(
            b"some network", shape=(1, 3, 8, 8), threads=1, precision="fp32", data=np.zeros(1), options=Options()
        )
        for _ in range(5):
            session.run()
            found.append(backend.clock())
        return found

    assert times() == times()
