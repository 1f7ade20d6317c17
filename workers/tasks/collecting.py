"""Make a group's result from what its measuring processes left: samples, parts, facts, flags."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerprune.api.tasks import MeasuredGroup, SessionSamples
from layerprune.api.timings import CanaryTiming, PartSamples, SessionFacts
from layerprune.flags import FLAGS
from layerprune.samples import Block, ProcessSamples, SampleSet, encode
from layerprune.stats import median_ns
from workers.harness.process import INDEX, PARTS_SAMPLES, SAMPLES

from .harness import Event

MAX_CANARIES = 64
_MEASURED = ("load_ns", "first_inference_ns", "peak_memory_bytes")
_TOLD = ("device_memory_bytes", "engine_bytes", "build_ms")
_PASSES = ("output_finite", "throughput", "energy_mj", "energy_source")


@dataclass(frozen=True)
class Left:
    """What one measuring process left of one session: its samples, and those of each part that it knows."""

    samples: ProcessSamples
    parts: dict[str, ProcessSamples]


@dataclass(frozen=True)
class Round:
    """Every session of a group timed once: in one process together, or each in a process of its own."""

    left: dict[str, Left]
    results: list[Event]

    @classmethod
    def read(cls, processes: Sequence[tuple[Path, Event]]) -> Round:
        """Read the folders of the processes of one round, with their results."""
        left: dict[str, Left] = {}
        for folder, _ in processes:
            left.update(_read(folder))
        return cls(left, [result for _, result in processes])


def samples_of(session: str, rounds: Sequence[Round]) -> SampleSet:
    """Return all samples of a session, one process per round."""
    return SampleSet(tuple(found.left[session].samples for found in rounds))


def collect(names: Sequence[str], rounds: Sequence[Round], folder: Path, *, group: int) -> MeasuredGroup:
    """Write the samples of every session below `folder` and return the group; paths are relative to `folder`."""
    results = [result for found in rounds for result in found.results]
    raised = {flag for result in results for flag in result["flags"]}
    return MeasuredGroup(
        sessions=[_session(name, rounds, folder, f"{group}-{i}") for i, name in enumerate(names)],
        flags=[flag for flag in FLAGS if flag in raised],
        observed={"processes": [result["observed"] for result in results]},
        canary=[CanaryTiming(**result["canary"]) for result in results if result["canary"]][:MAX_CANARIES],
    )


def _session(name: str, rounds: Sequence[Round], folder: Path, label: str) -> SessionSamples:
    samples = samples_of(name, rounds)
    parts = {}
    for part in rounds[0].left[name].parts:
        of_part = SampleSet(tuple(found.left[name].parts[part] for found in rounds))
        path = _write(of_part, folder, f"{label}-{part}")
        parts[part] = PartSamples(samples=path, p50_ns=median_ns(of_part))
    facts = [result["facts"][name] for found in rounds for result in found.results if name in result["facts"]]
    return SessionSamples.model_validate(
        {
            "session": name,
            "samples": _write(samples, folder, label),
            "n_samples": len(samples.all_ns()),
            "p50_ns": median_ns(samples),
            "parts": parts,
            "facts": _facts(facts),
        }
    )


def _facts(found: Sequence[Mapping[str, Any]]) -> SessionFacts:
    """Medians of what every process measures; the rest from the first process, which alone does the extra passes."""
    first = found[0]
    told = dict(first["session"])
    record: dict[str, Any] = {name: first[name] for name in _PASSES if first.get(name) is not None}
    record.update({name: told.pop(name) for name in _TOLD if told.get(name) is not None})
    for name in _MEASURED:
        values = [facts[name] for facts in found if facts.get(name) is not None]
        if values:
            record[name] = round(statistics.median(values))
    record["other"] = {**told, "memory": "peak" if first["peak_memory_exact"] else "resident"}
    return SessionFacts.model_validate(record)


def _write(samples: SampleSet, folder: Path, label: str) -> str:
    path = folder / "samples" / f"{label}.lps"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encode(samples))
    return str(path.relative_to(folder))


def _read(folder: Path) -> dict[str, Left]:
    index = json.loads((folder / INDEX).read_text())
    values, part_values = (
        np.fromfile(folder / name, dtype="<i8").astype(np.int64) for name in (SAMPLES, PARTS_SAMPLES)
    )
    parts_of: dict[str, list[str]] = index["parts"]
    blocks: dict[str, list[Block]] = {name: [] for name in parts_of}
    part_blocks: dict[str, dict[str, list[Block]]] = {
        name: {part: [] for part in parts} for name, parts in parts_of.items()
    }
    start = part_start = 0
    for name, cycle, position, count in index["blocks"]:
        blocks[name].append(Block(cycle, position, values[start : start + count]))
        start += count
        parts = parts_of[name]
        table = part_values[part_start : part_start + count * len(parts)].reshape(count, len(parts))
        part_start += table.size
        for column, part in enumerate(parts):
            part_blocks[name][part].append(Block(cycle, position, _at_least_one(table[:, column])))
    warmup_runs, runs_per_sample = index["warmup_runs"], index["runs_per_sample"]
    return {
        name: Left(
            ProcessSamples(tuple(found), warmup_runs[name], runs_per_sample[name]),
            {part: ProcessSamples(tuple(found), warmup_runs[name]) for part, found in part_blocks[name].items()},
        )
        for name, found in blocks.items()
    }


def _at_least_one(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Samples are positive; a part that took less than the device can tell is stored as 1 ns."""
    return np.maximum(values, 1)
