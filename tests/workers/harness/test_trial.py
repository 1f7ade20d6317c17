"""Trying networks before they are timed: which one is at fault, and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from workers.harness.errors import HarnessError
from workers.harness.loop import Plan
from workers.harness.spec import Spec
from workers.harness.trial import try_out


def poisoned(network: bytes) -> bytes:
    """The same network with NaN for the weights of its classifier."""
    model = onnx.load_model_from_string(network)
    (head,) = (tensor for tensor in model.graph.initializer if tensor.name == "head")
    head.raw_data = np.full(tuple(head.dims), np.nan, np.float32).tobytes()
    return bytes(model.SerializeToString())


def tried(
    folder: Path, backend: str = "onnxruntime", root: str = "/", threads: int = 1, **networks: bytes
) -> list[str]:
    """Try the networks; return what was said."""
    paths, said = {}, list[str]()
    for name, content in networks.items():
        paths[name] = folder / name
        paths[name].write_bytes(content)
    spec = Spec(backend, "fp32", threads, (1, 3, 8, 8), paths, Plan(), 0, folder, None, root=root)
    try_out(spec, lambda phase, **_: said.append(phase))
    return said


def test_each_network_leaves_its_answer(tmp_path: Path, conv_net: Callable[..., bytes]) -> None:
    assert tried(tmp_path, a=conv_net(), b=conv_net(classes=7)) == ["trying a", "trying b"]
    assert [np.load(tmp_path / f"{i}.npy").shape for i in range(2)] == [(1, 10), (1, 7)]


def test_the_network_at_fault_is_named(tmp_path: Path, conv_net: Callable[..., bytes]) -> None:
    with pytest.raises(HarnessError, match="^b: ") as caught:
        tried(tmp_path, a=conv_net(), b=b"nonsense")
    assert caught.value.code == "parse_rejected"


def test_answers_that_are_no_numbers_are_refused(tmp_path: Path, conv_net: Callable[..., bytes]) -> None:
    with pytest.raises(HarnessError, match="^b: 10 of its 10 outputs are NaN or infinite") as caught:
        tried(tmp_path, a=conv_net(), b=poisoned(conv_net()))
    assert caught.value.code == "bad_input"


def test_a_network_larger_than_the_memory_is_refused_unloaded(tmp_path: Path, conv_net: Callable[..., bytes]) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 8 kB\nMemAvailable: 1 kB\n")
    with pytest.raises(HarnessError, match="^a: a network of .* cannot fit") as caught:
        tried(tmp_path, root=str(tmp_path), a=conv_net())
    assert caught.value.code == "oom"


def test_too_many_threads_are_refused_before_anything_is_loaded(tmp_path: Path, conv_net: Callable[..., bytes]) -> None:
    with pytest.raises(HarnessError, match="999 threads were asked for, but only"):
        tried(tmp_path, threads=999, a=conv_net())
