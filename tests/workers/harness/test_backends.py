"""The runtimes: their table, the null backend, ONNX Runtime."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest

from workers.harness.backends import BACKENDS, load_backend
from workers.harness.backends.base import Session
from workers.harness.errors import HarnessError

Net = Callable[..., bytes]


def load(network: bytes, *, batch: int = 1, threads: int = 1, size: int = 8, backend: str = "onnxruntime") -> Session:
    shape = (batch, 3, size, size)
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return load_backend(backend).load(network, shape=shape, threads=threads, precision="fp32", data=data)


def test_reading_the_table_imports_no_runtime() -> None:
    program = "import sys; import workers.harness.backends; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(HarnessError, match="unknown backend 'warp'; known: null, onnxruntime"):
        load_backend("warp")


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_every_backend_says_what_it_is(name: str) -> None:
    backend = load_backend(name)
    assert backend.name == name
    assert backend.version
    assert "fp32" in backend.precisions
    assert isinstance(backend.flags(), dict)


@pytest.mark.parametrize("batch", [1, 3])
def test_onnxruntime_computes_what_its_own_session_does(conv_net: Net, batch: int) -> None:
    network = conv_net()
    images = np.random.default_rng(1).standard_normal((batch, 3, 8, 8)).astype(np.float32)
    plain = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    expected = plain.run(None, {"input": images})[0]
    session = load(network, batch=batch)
    assert session.infer(images) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_evaluating_leaves_the_timed_input_alone(conv_net: Net) -> None:
    session = load(conv_net())
    before = session.infer(np.ones((1, 3, 8, 8), np.float32)).copy()
    session.infer(np.zeros((1, 3, 8, 8), np.float32))
    session.run()
    assert session.infer(np.ones((1, 3, 8, 8), np.float32)).tolist() == before.tolist()


@pytest.mark.parametrize("network", [b"", b"no network", b"\x08\x09"], ids=["empty", "text", "no graph"])
def test_what_is_no_network_is_rejected(network: bytes) -> None:
    with pytest.raises(HarnessError, match="ONNX Runtime .* refuses the network") as caught:
        load(network)
    assert caught.value.code == "parse_rejected"


def test_a_network_for_another_size_is_rejected(conv_net: Net) -> None:
    with pytest.raises(HarnessError) as caught:
        load(conv_net(size=8), size=16)
    assert caught.value.code == "parse_rejected"


def test_the_null_backend_lets_only_its_own_time_pass() -> None:
    backend = load_backend("null")
    session = backend.load(
        b'{"latency_ns": 2000, "noise": 0}', shape=(4, 3, 8, 8), threads=2, precision="fp32", data=np.zeros(1)
    )
    before = backend.clock()
    session.run()
    assert backend.clock() - before == 4000


def test_the_null_backend_is_repeatable() -> None:
    def times() -> list[int]:
        backend, found = load_backend("null"), []
        session = backend.load(b"some network", shape=(1, 3, 8, 8), threads=1, precision="fp32", data=np.zeros(1))
        for _ in range(5):
            session.run()
            found.append(backend.clock())
        return found

    assert times() == times()
