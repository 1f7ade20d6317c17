"""Images per second and energy, on the clock of the null backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from workers.harness.backends.base import Options
from workers.harness.backends.null import NullBackend
from workers.harness.errors import HarnessError
from workers.harness.extras import energy, throughput
from workers.harness.loading import Loader
from workers.harness.loop import Plan
from workers.harness.spec import Spec

NETWORK = b'{"latency_ns": 1000000, "noise": 0}'


def loader(backend: Any) -> Loader:
    spec = Spec("null", "fp32", 1, (1, 3, 8, 8), {}, Plan(), 0, Path(), None)
    return Loader(spec, backend, Options())


def test_images_per_second_are_those_of_the_batch() -> None:
    # A millisecond an image, whatever the batch.
    found = throughput(loader(NullBackend()), NETWORK, (3, 8, 8), (1, 16), seconds=0.5, most_images=100)
    assert found == [{"batch_size": 1, "images_per_s": 1000.0}, {"batch_size": 16, "images_per_s": 1000.0}]


def test_a_batch_that_may_not_fit_is_not_tried() -> None:
    found = throughput(loader(NullBackend()), NETWORK, (3, 8, 8), (1, 16), seconds=0.5, most_images=8)
    assert found[1] == {"batch_size": 16, "refused": "there may not be memory for it"}


def test_a_batch_that_the_network_refuses_is_told() -> None:
    class Fixed(NullBackend):
        def load(self, onnx: bytes, *, shape: tuple[int, ...], **options: Any) -> Any:
            if shape[0] != 1:
                raise HarnessError("parse_rejected", "the batch is 1")
            return super().load(onnx, shape=shape, **options)

    found = throughput(loader(Fixed()), NETWORK, (3, 8, 8), (1, 4), seconds=0.5, most_images=100)
    assert found[1] == {"batch_size": 4, "refused": "the batch is 1"}


class Reading(NamedTuple):
    millijoules: float
    seconds: float
    samples: int


class Watts:
    """A meter of ten watts on the null backend's clock."""

    source = "ten watts"

    def __init__(self, backend: NullBackend) -> None:
        self._backend = backend
        self._began = 0

    def start(self) -> None:
        self._began = self._backend.clock()

    def stop(self) -> Any:
        seconds = (self._backend.clock() - self._began) / 1e9
        return Reading(10_000 * seconds, seconds, 2)


def test_energy_is_that_of_one_inference() -> None:
    backend = NullBackend()
    session = loader(backend).load(NETWORK, (1, 3, 8, 8))
    found = energy(session, backend.clock, Watts(backend), seconds=0.5)
    assert (found["energy_mj"], found["energy_source"]) == (pytest.approx(10.0), "ten watts")


def test_a_meter_that_stopped_answering_gives_nothing() -> None:
    class Broken(Watts):
        def stop(self) -> None:
            return None

    backend = NullBackend()
    session = loader(backend).load(NETWORK, (1, 3, 8, 8))
    assert energy(session, backend.clock, Broken(backend), seconds=0.1) == {}
