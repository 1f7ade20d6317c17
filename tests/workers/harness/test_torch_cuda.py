"""PyTorch on a GPU, where there is none: a stand-in for torch.cuda with the names and arguments of the real one."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from workers.harness.backends.base import PARTS
from workers.harness.backends.torch_cuda import TorchCudaSession

REAL = torch.cuda


class StandIn:
    """What the session may use of torch.cuda; `calls` has the order, `fails` makes capturing fail."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails = False
        self.now_ms = 0.0
        stand_in = self

        class Event:
            def __init__(self, **arguments: Any) -> None:
                inspect.signature(REAL.Event.__new__).bind(None, **arguments)
                assert arguments["enable_timing"]
                self.at_ms: float | None = None

            def record(self) -> None:
                assert stand_in.stream_is_set
                stand_in.now_ms += 1.0
                self.at_ms = stand_in.now_ms

            def synchronize(self) -> None:
                assert self.at_ms is not None, "an event was waited for that nobody recorded"
                stand_in.calls.append("wait")

            def elapsed_time(self, end: Event) -> float:
                assert self.at_ms is not None
                assert end.at_ms is not None
                return end.at_ms - self.at_ms

        class CUDAGraph:
            def replay(self) -> None:
                assert "captured" in stand_in.calls
                stand_in.calls.append("replay")

        self.Event, self.CUDAGraph, self.Stream = Event, CUDAGraph, object
        self.stream_is_set = False
        for name in ("Event", "CUDAGraph", "Stream", "stream", "graph", "synchronize"):
            assert hasattr(REAL, name)

    @contextlib.contextmanager
    def stream(self, stream: object) -> Iterator[None]:
        self.stream_is_set = True
        yield
        self.stream_is_set = False

    @contextlib.contextmanager
    def graph(self, cuda_graph: Any, **arguments: Any) -> Iterator[None]:
        inspect.signature(REAL.graph.__init__).bind(None, cuda_graph, **arguments)
        yield
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.calls.append("captured")

    def synchronize(self) -> None:
        pass


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())
    monkeypatch.setattr(
        torch, "cuda", SimpleNamespace(**{n: getattr(stand_in, n) for n in dir(stand_in) if n[0] != "_"})
    )
    return stand_in


def session(cuda: StandIn, **settings: bool) -> TorchCudaSession:
    def network(images: torch.Tensor) -> torch.Tensor:
        cuda.calls.append("eager")
        return images.sum(dim=(2, 3))

    image = torch.ones(1, 3, 2, 2)
    return TorchCudaSession(network, image, **({"transfers": False, "cuda_graph": True} | settings))


def test_the_first_run_is_plain_the_second_captures_and_later_ones_replay(cuda: StandIn) -> None:
    timed = session(cuda)
    assert cuda.calls == []
    for _ in range(3):
        timed.run()
    assert cuda.calls == ["eager", "wait", "eager", "captured", "replay", "wait", "replay", "wait"]
    assert timed.facts == {"cuda_graph": True}


def test_a_graph_that_cannot_be_captured_is_done_without_and_says_why(cuda: StandIn) -> None:
    cuda.fails = True
    timed = session(cuda)
    for _ in range(3):
        timed.run()
    assert "not permitted when stream is capturing" in timed.facts["cuda_graph"]
    assert cuda.calls[-2:] == ["eager", "wait"]
    assert "replay" not in cuda.calls


def test_without_a_graph_every_run_is_plain(cuda: StandIn) -> None:
    timed = session(cuda, cuda_graph=False)
    timed.run()
    timed.run()
    assert cuda.calls == ["eager", "wait", "eager", "wait"]


def test_the_device_is_timed_by_events_and_copies_apart(cuda: StandIn) -> None:
    timed = session(cuda, transfers=True)
    timed.run()
    assert timed.parts == PARTS
    device, enqueue, to_device, from_device = timed.parts_ns()
    assert (device, to_device, from_device) == (1_000_000, 1_000_000, 1_000_000)
    assert enqueue > 0
    assert len(session(cuda).parts) == 2


def test_evaluating_leaves_the_timed_image_alone(cuda: StandIn) -> None:
    timed = session(cuda, transfers=True, cuda_graph=False)
    assert timed.infer(np.full((1, 3, 2, 2), 2, np.float32)).tolist() == [[8.0, 8.0, 8.0]]
    timed.run()
    assert timed._output.tolist() == [[4.0, 4.0, 4.0]]
