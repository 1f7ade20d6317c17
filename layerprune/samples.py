"""Raw samples of one session as ordered integers, and their compact encoding.

A file is one line of JSON (format, and per process its blocks) and then the samples of all blocks in order, as zlib of
the shuffled bytes of zigzag differences of 64-bit nanoseconds. Order is kept because drift and autocorrelation live in
it. Whoever decodes trusts nothing: sizes are checked before anything is allocated, and decompression is bounded.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from layerprune.api.errors import BadInput

FORMAT = "lp-samples-1"
MAX_SAMPLE_NS = 3_600 * 10**9
"""One inference that takes longer than an hour is not a measurement."""
MAX_PROCESSES = 64
MAX_HEADER_BYTES = 8 * 2**20
_REMEDY = (
    "Send samples as layerprune.samples.encode() writes them: positive nanoseconds whose number agrees with the header."
)


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive samples of one session: its `position` in the mirrored order of `cycle`, and the times in ns."""

    cycle: int
    position: int
    samples_ns: NDArray[np.int64]


@dataclass(frozen=True)
class ProcessSamples:
    """What one measuring process saw of one session; each sample is the mean of `runs_per_sample` inferences."""

    blocks: tuple[Block, ...]
    warmup_runs: int
    runs_per_sample: int = 1

    def all_ns(self) -> NDArray[np.int64]:
        """Every sample in the order it was taken."""
        return np.concatenate([block.samples_ns for block in self.blocks])


@dataclass(frozen=True)
class SampleSet:
    """All samples of one session under one set of conditions."""

    processes: tuple[ProcessSamples, ...]

    def all_ns(self) -> NDArray[np.int64]:
        """Every sample of every process, in order."""
        return np.concatenate([process.all_ns() for process in self.processes])

    @property
    def grouped(self) -> bool:
        """Whether samples are means of several inferences, so that their tails say nothing."""
        return any(process.runs_per_sample > 1 for process in self.processes)


def encode(samples: SampleSet) -> bytes:
    """Write a sample set as bytes; `decode` gives back an equal one."""
    values = samples.all_ns().astype(np.int64)
    header = {
        "format": FORMAT,
        "samples": len(values),
        "processes": [
            {
                "warmup_runs": process.warmup_runs,
                "runs_per_sample": process.runs_per_sample,
                "blocks": [[block.cycle, block.position, len(block.samples_ns)] for block in process.blocks],
            }
            for process in samples.processes
        ],
    }
    steps = np.diff(values, prepend=np.int64(0))
    zigzag = ((steps << 1) ^ (steps >> 63)).astype("<u8")
    shuffled = zigzag.view(np.uint8).reshape(-1, 8).T.tobytes()
    return json.dumps(header, separators=(",", ":")).encode() + b"\n" + zlib.compress(shuffled, 9)


def decode(data: bytes, *, max_samples: int = 5_000_000) -> SampleSet:
    """Read a sample set from bytes of unknown origin.

    Raises BadInput for another format, counts that disagree, more than `max_samples`, and samples that are not positive
    or longer than an hour.
    """
    line, newline, _ = data[: MAX_HEADER_BYTES + 1].partition(b"\n")
    if not newline:
        _refuse("samples have no header line", value=line[:40].decode("ascii", "replace"))
    processes, total = _read_header(line, max_samples)
    values = _unpack(data[len(line) + 1 :], total)
    if values.min() < 1 or values.max() > MAX_SAMPLE_NS:
        _refuse(f"samples must lie between 1 and {MAX_SAMPLE_NS} ns", value=[int(values.min()), int(values.max())])
    start, found = 0, []
    for warmup_runs, runs_per_sample, shapes in processes:
        blocks = []
        for cycle, position, count in shapes:
            blocks.append(Block(cycle, position, values[start : start + count]))
            start += count
        found.append(ProcessSamples(tuple(blocks), warmup_runs, runs_per_sample))
    return SampleSet(tuple(found))


def pack_outcomes(outcomes: Sequence[bool] | NDArray[np.bool_]) -> str:
    """Write one bit per image, most significant bit first, as base64."""
    return base64.b64encode(np.packbits(np.asarray(outcomes, dtype=bool)).tobytes()).decode()


def unpack_outcomes(text: str, n: int) -> NDArray[np.bool_]:
    """Read the outcomes of `n` images; raises BadInput if the text does not hold exactly that many."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadInput("outcomes are not base64", field="outcomes", value=text[:40]) from None
    bits = np.unpackbits(np.frombuffer(raw, dtype=np.uint8))
    if len(raw) != (n + 7) // 8 or bits[n:].any():
        raise BadInput(
            f"outcomes hold {len(bits)} bits, which is not {n} padded with zeros to whole bytes",
            field="outcomes",
            value=n,
        )
    return bits[:n].astype(bool)


def _read_header(line: bytes, max_samples: int) -> tuple[list[tuple[int, int, list[tuple[int, int, int]]]], int]:
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        _refuse("the header of the samples is not JSON", value=line[:40].decode("ascii", "replace"))
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        _refuse(f"the samples are not in format {FORMAT}", value=str(header)[:80])
    entries = header.get("processes")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_PROCESSES:
        _refuse(f"samples must come from 1 to {MAX_PROCESSES} processes", value=str(entries)[:80])
    total = _whole(header.get("samples"), "samples", low=1, high=max_samples)
    processes, counted = [], 0
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("blocks"), list) or not entry["blocks"]:
            _refuse("a process without blocks", value=str(entry)[:80])
        shapes = [_block(block, max_samples) for block in entry["blocks"]]
        counted += sum(count for _, _, count in shapes)
        warmup_runs = _whole(entry.get("warmup_runs"), "warmup_runs", low=0, high=10**9)
        runs_per_sample = _whole(entry.get("runs_per_sample", 1), "runs_per_sample", low=1, high=10**6)
        processes.append((warmup_runs, runs_per_sample, shapes))
    if counted != total:
        _refuse(f"the blocks hold {counted} samples, the header says {total}", value=total)
    return processes, total


def _block(entry: Any, max_samples: int) -> tuple[int, int, int]:
    if not isinstance(entry, list) or len(entry) != 3:
        _refuse("a block is [cycle, position, number of samples]", value=str(entry)[:80])
    cycle = _whole(entry[0], "cycle", low=0, high=10**6)
    position = _whole(entry[1], "position", low=0, high=10**6)
    return cycle, position, _whole(entry[2], "number of samples", low=1, high=max_samples)


def _whole(value: Any, name: str, *, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        _refuse(f"{name} must be a whole number from {low} to {high}", value=str(value)[:80])
    return value


def _unpack(body: bytes, total: int) -> NDArray[np.int64]:
    expander = zlib.decompressobj()
    try:
        raw = expander.decompress(body, 8 * total + 1)
    except zlib.error as error:
        _refuse(f"the samples do not decompress: {error}", value=len(body))
    if len(raw) != 8 * total or not expander.eof or expander.unused_data:
        _refuse(f"the compressed samples are not exactly {total} numbers", value=len(raw) // 8)
    zigzag = np.frombuffer(raw, dtype=np.uint8).reshape(8, -1).T.copy().view("<u8").ravel()
    steps = (zigzag >> np.uint64(1)).astype(np.int64) ^ -(zigzag & np.uint64(1)).astype(np.int64)
    # Differences that wrap around come out as values that the range check refuses.
    return np.cumsum(steps, dtype=np.int64)


def _refuse(message: str, *, value: object) -> NoReturn:
    raise BadInput(message, field="samples", value=value, remedy=_REMEDY)
