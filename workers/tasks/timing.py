"""Time networks in groups against their base: which processes to start, and what to make of what they leave."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from layerprune.api.jobs import Progress
from layerprune.api.tasks import Condition, MeasuredGroup, SessionSamples
from layerprune.flags import FLAGS
from layerprune.samples import Block, ProcessSamples, SampleSet, encode
from layerprune.stats import median_ns
from workers.harness.loop import Plan
from workers.harness.process import INDEX, SAMPLES

from .harness import Event, run_harness

MAX_SESSIONS = 8
"""Sessions in one group, base and A/A control among them; more would not fit the caches and take too long per cycle."""
BASE, CONTROL = "base", "aa"
START_S = 1.5
"""What starting a process and loading a group takes, until the first one shows."""


@dataclass(frozen=True)
class Budget:
    """How many fresh processes per group, and what each does."""

    processes: int
    plan: Plan


@dataclass(frozen=True)
class Timed:
    """What timing all groups came to; `accuracies` has the answers of each session that was evaluated."""

    groups: list[MeasuredGroup]
    conditions: dict[str, Any]
    accuracies: dict[str, Event]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """The evaluation pack, its preprocessing, and per session the reference outputs."""

    pack: Path
    preprocess: dict[str, Any]
    references: Mapping[str, Path]


@dataclass
class Timer:
    """Times groups one after the other, in a task's folder; see `run`."""

    condition: Condition
    shape: Sequence[int]
    budget: Budget
    seed: int
    folder: Path
    report: Callable[[Progress], None]
    checkpoint: Callable[[], None]
    evaluation: Evaluation | None = None
    _spent: list[float] = field(default_factory=list)

    def run(self, base: Path, networks: Mapping[str, Path]) -> Timed:
        """Time `networks` (session name -> ONNX file) against `base`, each group with the base twice.

        A session is evaluated once, in the first process that times it.
        """
        groups, accuracies, conditions = [], dict[str, Event](), dict[str, Any]()
        seconds: dict[str, float] = {}
        started = time.monotonic()
        parts = split_evenly(list(networks), MAX_SESSIONS - 2)
        for g, names in enumerate(parts):
            sessions = {BASE: base, CONTROL: base, **{name: networks[name] for name in names}}
            results = []
            for p in range(self.budget.processes):
                self.checkpoint()
                wanted = [name for name in sessions if name != CONTROL and name not in accuracies]
                result = self._process(sessions, wanted, group=g, groups=len(parts), process=p)
                accuracies.update(result["accuracies"])
                seconds = {name: seconds.get(name, 0.0) + spent for name, spent in result["seconds"].items()}
                conditions = result["conditions"]
                results.append(result)
            groups.append(self._collect(list(sessions), results, group=g))
        seconds["starting"] = time.monotonic() - started - sum(seconds.values())
        return Timed(groups, conditions, accuracies, {name: round(s, 3) for name, s in seconds.items()})

    def _process(
        self, sessions: Mapping[str, Path], wanted: list[str], *, group: int, groups: int, process: int
    ) -> Event:
        left = self._folder(group, process)
        left.mkdir(parents=True, exist_ok=True)
        request = {
            "backend": self.condition.backend,
            "precision": self.condition.precision,
            "threads": self.condition.threads,
            "shape": [self.condition.batch_size, *self.shape],
            "networks": {name: str(path) for name, path in sessions.items()},
            "plan": asdict(self.budget.plan),
            "seed": self.seed + 1000 * group + process,
            "folder": str(left),
            "evaluate": self._evaluate(wanted),
        }
        total = groups * self.budget.processes
        done = group * self.budget.processes + process
        started = time.monotonic()

        def tell(event: Event) -> None:
            elapsed_s = time.monotonic() - started
            left_s = self._seconds_left(len(sessions), total - done, elapsed_s)
            if event["phase"] == "timing":
                left_s = max(left_s, round(event["expect_s"], 1))
            spent_s = sum(self._spent) + elapsed_s
            message = f"group {group + 1} of {groups}"
            if self.budget.processes > 1:
                message += f", process {process + 1} of {self.budget.processes}"
            fraction = spent_s / (spent_s + left_s)
            self.report(Progress(phase=event["phase"], message=message, fraction=fraction, seconds_left=left_s))

        result = run_harness(request, log=left / "log.txt", on_progress=tell)
        self._spent.append(time.monotonic() - started)
        return result

    def _evaluate(self, wanted: list[str]) -> Event | None:
        if self.evaluation is None or not wanted:
            return None
        return {
            "pack": str(self.evaluation.pack),
            "preprocess": self.evaluation.preprocess,
            "references": {name: str(self.evaluation.references[name]) for name in wanted},
        }

    def _seconds_left(self, sessions: int, processes: int, elapsed_s: float) -> float:
        plan = self.budget.plan
        planned_s = START_S + sessions * (1.2 * plan.warmup_later_min_s + plan.cycles * 2 * plan.block_ms / 1000)
        each_s = self._spent[-1] if self._spent else planned_s
        return round(max(1.0, each_s * processes - elapsed_s), 1)

    def _collect(self, names: list[str], results: list[Event], *, group: int) -> MeasuredGroup:
        processes = [_read_process(self._folder(group, p)) for p in range(len(results))]
        sessions = []
        for i, name in enumerate(names):
            samples = SampleSet(tuple(found[name] for found in processes))
            path = self.folder / "samples" / f"{group}-{i}.lps"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encode(samples))
            sessions.append(
                SessionSamples(
                    session=name,
                    samples=str(path.relative_to(self.folder)),
                    n_samples=len(samples.all_ns()),
                    p50_ns=median_ns(samples),
                )
            )
        raised = {flag for result in results for flag in result["flags"]}
        return MeasuredGroup(
            sessions=sessions,
            flags=[flag for flag in FLAGS if flag in raised],
            observed={"processes": [result["observed"] for result in results]},
        )

    def _folder(self, group: int, process: int) -> Path:
        return self.folder / "raw" / f"{group}-{process}"


def split_evenly(names: list[str], most: int) -> list[list[str]]:
    """Split into as few parts of at most `most` as possible, of sizes that differ by one at most; never into none."""
    parts = max(1, math.ceil(len(names) / most))
    return [list(part) for part in np.array_split(np.array(names, dtype=object), parts)]


def _read_process(folder: Path) -> dict[str, ProcessSamples]:
    index = json.loads((folder / INDEX).read_text())
    values = np.fromfile(folder / SAMPLES, dtype="<i8").astype(np.int64)
    blocks: dict[str, list[Block]] = {name: [] for name in index["warmup_runs"]}
    start = 0
    for name, cycle, position, count in index["blocks"]:
        blocks[name].append(Block(cycle, position, values[start : start + count]))
        start += count
    return {
        name: ProcessSamples(tuple(found), index["warmup_runs"][name], index["runs_per_sample"][name])
        for name, found in blocks.items()
    }
