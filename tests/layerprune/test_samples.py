"""Samples survive their encoding, and hostile bytes are refused before they cost anything."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerprune.api.errors import BadInput
from layerprune.samples import (
    MAX_SAMPLE_NS,
    Block,
    ProcessSamples,
    SampleSet,
    decode,
    encode,
    pack_outcomes,
    unpack_outcomes,
)

SAMPLES = st.lists(st.integers(1, MAX_SAMPLE_NS), min_size=1, max_size=20)


def sample_set(*processes: list[list[int]]) -> SampleSet:
    return SampleSet(
        tuple(
            ProcessSamples(
                tuple(Block(i // 2, i % 2, np.array(block, dtype=np.int64)) for i, block in enumerate(blocks)),
                warmup_runs=50,
            )
            for blocks in processes
        )
    )


def file(header: dict[str, Any], values: list[int]) -> bytes:
    """A file by hand: differences, zigzag, bytes shuffled."""
    steps = np.diff(np.array(values, dtype=np.int64), prepend=np.int64(0))
    zigzag = ((steps << 1) ^ (steps >> 63)).astype("<u8").view(np.uint8).reshape(-1, 8).T.tobytes()
    return json.dumps(header).encode() + b"\n" + zlib.compress(zigzag)


def header(count: int = 3, **changes: Any) -> dict[str, Any]:
    process = {"warmup_runs": 50, "runs_per_sample": 1, "blocks": [[0, 0, count]]}
    return {"format": "lp-samples-1", "samples": count, "processes": [process]} | changes


@given(st.lists(st.lists(SAMPLES, min_size=1, max_size=4), min_size=1, max_size=3))
def test_decoding_gives_back_what_was_encoded(processes: list[list[list[int]]]) -> None:
    found = decode(encode(sample_set(*processes)))
    assert [[block.samples_ns.tolist() for block in process.blocks] for process in found.processes] == processes
    assert [(b.cycle, b.position) for b in found.processes[0].blocks] == [
        (i // 2, i % 2) for i in range(len(processes[0]))
    ]


def test_a_file_by_hand_decodes() -> None:
    assert decode(file(header(), [500, 400, 700])).all_ns().tolist() == [500, 400, 700]


def test_ten_thousand_samples_take_less_than_two_bytes_and_a_half_each() -> None:
    times = (1e6 * np.random.default_rng(0).lognormal(0, 0.05, 10_000)).astype(np.int64)
    samples = sample_set([times.tolist()])
    assert len(encode(samples)) < 2.5 * 10_000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 100,
        b"not json\n",
        b"[" * 100_000 + b"\n",
        b"[]\n",
        file(header(format="lp-samples-2"), [1, 2, 3]),
        file(header(processes=[]), [1, 2, 3]),
        file(header(processes=[{"warmup_runs": 0, "blocks": []}]), [1, 2, 3]),
        file(header(processes=[header()["processes"][0] | {"warmup_runs": -1}]), [1, 2, 3]),
        file(header(processes=[header()["processes"][0] | {"blocks": [[0, 0, 3.0]]}]), [1, 2, 3]),
        file(header(processes=[header()["processes"][0] | {"blocks": [[0, 0, True]]}], samples=1), [1]),
        file(header(samples=4), [1, 2, 3]),
        file(header(count=4), [1, 2, 3]),
        file(header(count=2), [1, 2, 3]),
        file(header(), [1, 0, 3]),
        file(header(), [1, -5, 3]),
        file(header(), [1, MAX_SAMPLE_NS + 1, 3]),
        file(header(), [1, 2, 3])[:-3],
        file(header(), [1, 2, 3]) + b"more",
        json.dumps(header()).encode() + b"\nnot compressed",
    ],
    ids=lambda data: str(data[:60]),
)
def test_broken_samples_are_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match=r"sample|process|block|format|JSON|number"):
        decode(data)


def test_more_samples_than_allowed_are_refused_by_their_number() -> None:
    with pytest.raises(BadInput, match="from 1 to 2"):
        decode(file(header(), [1, 2, 3]), max_samples=2)


def test_a_decompression_bomb_is_not_unpacked() -> None:
    bomb = json.dumps(header()).encode() + b"\n" + zlib.compress(bytes(50_000_000), 9)
    with pytest.raises(BadInput, match="not exactly 3 numbers"):
        decode(bomb)


def test_differences_that_overflow_are_refused() -> None:
    with pytest.raises(BadInput, match="between 1 and"):
        decode(file(header(), [1, -(2**62), 2**62]))


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_outcomes_survive_packing(outcomes: list[bool]) -> None:
    assert unpack_outcomes(pack_outcomes(outcomes), len(outcomes)).tolist() == outcomes


def test_the_first_image_is_the_most_significant_bit() -> None:
    assert pack_outcomes([True, False, False, False, False, False, False, False]) == "gA=="


@pytest.mark.parametrize(
    ("text", "n"),
    [("gA==", 9), ("gIA=", 8), ("/w==", 7), ("$$$$", 8), ("", 1)],
    ids=["too short", "too long", "padding not zero", "not base64", "empty"],
)
def test_outcomes_of_another_number_of_images_are_refused(text: str, n: int) -> None:
    with pytest.raises(BadInput, match="outcomes"):
        unpack_outcomes(text, n)


@pytest.mark.parametrize(("runs", "grouped"), [(1, False), (4, True)])
def test_samples_of_several_runs_stay_known_as_such(runs: int, grouped: bool) -> None:
    samples = SampleSet((ProcessSamples((Block(0, 0, np.array([9])),), 0, runs_per_sample=runs),))
    assert decode(encode(samples)).grouped is grouped
