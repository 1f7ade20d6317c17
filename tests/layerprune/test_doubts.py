"""What a session's own samples make doubtful."""

from __future__ import annotations

import numpy as np
import pytest

from layerprune.doubts import of_parts, of_samples, variation
from layerprune.samples import Block, ProcessSamples, SampleSet


def samples(levels: list[float], *, noise: float = 0.005, per_block: int = 20, runs_per_sample: int = 1) -> SampleSet:
    """One process per level (in ns), of ten blocks, with normal noise around it."""
    rng = np.random.default_rng(0)

    def block(number: int, level: float) -> Block:
        values = np.maximum(1, level * (1 + noise * rng.standard_normal(per_block)))
        return Block(number // 2, number % 2, values.astype(np.int64))

    return SampleSet(
        tuple(ProcessSamples(tuple(block(i, level) for i in range(10)), 50, runs_per_sample) for level in levels)
    )


def test_quiet_samples_raise_nothing() -> None:
    assert of_samples(samples([1e6, 1.01e6, 0.99e6])) == []


@pytest.mark.parametrize(
    ("found", "flag"),
    [
        (samples([1e6, 1.06e6]), "process_spread_high"),
        (samples([1e6], noise=0.12), "cpu_cv_high"),
        (samples([1e6], per_block=6), "n_too_small"),
    ],
    ids=["processes apart", "single inferences vary", "few samples"],
)
def test_each_doubt_of_the_samples_has_its_flag(found: SampleSet, flag: str) -> None:
    assert of_samples(found) == [flag]


def test_means_of_several_inferences_have_no_tails_to_miss() -> None:
    assert of_samples(samples([1e4], per_block=6, runs_per_sample=5)) == []


@pytest.mark.parametrize(
    ("parts", "flags"),
    [
        ({}, []),
        ({"enqueue": 1e6}, []),
        ({"device": 1e6, "enqueue": 0.79e6}, []),
        ({"device": 1e6, "enqueue": 0.82e6}, ["enqueue_bound"]),
        ({"device": 1e6, "to_device": 0.98e6, "from_device": 0.1e6}, []),
        ({"device": 1e6, "to_device": 0.1e6, "from_device": 1.02e6}, ["transfer_bound"]),
    ],
    ids=["no parts", "without the device", "enqueued in time", "enqueued late", "small copies", "large copies"],
)
def test_parts_say_what_sets_the_pace(parts: dict[str, float], flags: list[str]) -> None:
    assert of_parts({name: samples([level]) for name, level in parts.items()}) == flags


def test_a_device_that_varies_is_noted() -> None:
    assert of_parts({"device": samples([1e6], noise=0.03)}) == ["gpu_cv_high"]


def test_variation_is_that_within_processes() -> None:
    assert variation(samples([1e6, 2e6], noise=0.01)) == pytest.approx(0.01, rel=0.2)
