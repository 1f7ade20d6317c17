"""Samples made up by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from layerprune.samples import Block, ProcessSamples, SampleSet


def _process(*cycles: list[int] | NDArray[np.int64], runs_per_sample: int = 1) -> ProcessSamples:
    blocks = tuple(Block(i, 0, np.array(cycle, dtype=np.int64)) for i, cycle in enumerate(cycles))
    return ProcessSamples(blocks, warmup_runs=50, runs_per_sample=runs_per_sample)


@pytest.fixture
def process() -> Callable[..., ProcessSamples]:
    """Give a maker of one process, which ran one block in each of the given cycles."""
    return _process


@pytest.fixture
def constant() -> Callable[..., SampleSet]:
    """Give a maker of one process for each latency, which it takes every time."""

    def make(*latencies: int, cycles: int = 3) -> SampleSet:
        return SampleSet(tuple(_process(*[[latency] * 5] * cycles) for latency in latencies))

    return make


@pytest.fixture
def noisy() -> Callable[..., SampleSet]:
    """Give a maker of processes whose cycles differ by 1 %, and samples in them by 3 %."""

    def make(latency: float, seed: int, *, processes: int = 1, cycles: int = 10) -> SampleSet:
        rng = np.random.default_rng(seed)
        return SampleSet(
            tuple(
                _process(
                    *[
                        (latency * math.exp(rng.normal(0, 0.01)) * rng.lognormal(0, 0.03, 20)).astype(np.int64)
                        for _ in range(cycles)
                    ]
                )
                for _ in range(processes)
            )
        )

    return make
