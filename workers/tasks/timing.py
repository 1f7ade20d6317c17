"""Time networks in groups against their base: which processes to start, and when enough is known."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from layerprune.api.errors import LayerPruneError
from layerprune.api.jobs import Progress
from layerprune.api.tasks import Condition, MeasuredGroup
from layerprune.stats import LOOK_ALPHA, MIN_PROCESSES_FOR_T, TARGET_HALF_WIDTH, ratio
from workers import interpreter
from workers.harness.loop import Plan
from workers.harness.power import without_mode

from .collecting import Round, collect, samples_of
from .harness import Event, run_harness
from .power import await_power_mode

MAX_SESSIONS = 8
"""Sessions in one group, base and A/A control among them; more would not fit the caches and take too long per cycle."""
BASE, CONTROL = "base", "aa"
START_S = 1.5
"""What starting a process and loading a group takes, until the first one shows."""


@dataclass(frozen=True)
class Budget:
    """How many fresh processes per group, what each does, and what is measured besides.

    After `processes`, and after each number of `further`, the intervals are looked at: narrow enough, and the group is
    done. `batches` are the sizes at which images per second are measured, `energy_s` how long energy is.
    """

    processes: int
    plan: Plan
    further: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()
    throughput_s: float = 0.5
    energy_s: float = 0.0


@dataclass(frozen=True)
class Timed:
    """What timing all groups came to; `accuracies` has the answers of each session that was evaluated."""

    groups: list[MeasuredGroup]
    conditions: dict[str, Any]
    accuracies: dict[str, Event]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Pack:
    """Images as an evaluation pack, and their preprocessing."""

    path: Path
    preprocess: dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """The evaluation pack, its preprocessing, and per session the reference outputs."""

    pack: Path
    preprocess: dict[str, Any]
    references: Mapping[str, Path]


@dataclass
class Timer:
    """Times groups one after the other, in a task's folder; see `run`.

    `calibration` is for precisions that must look at images, `cache` a folder that outlives the task, `python` the
    interpreter that measures.
    """

    condition: Condition
    shape: Sequence[int]
    budget: Budget
    seed: int
    folder: Path
    report: Callable[[Progress], None]
    checkpoint: Callable[[], None]
    evaluation: Evaluation | None = None
    calibration: Pack | None = None
    cache: Path | None = field(default_factory=interpreter.cache)
    python: str | None = None
    _accuracies: dict[str, Event] = field(default_factory=dict)
    _conditions: dict[str, Any] = field(default_factory=dict)
    _seconds: dict[str, float] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)
    _spent: list[float] = field(default_factory=list)

    def run(self, base: Path, networks: Mapping[str, Path]) -> Timed:
        """Time `networks` (session name -> ONNX file) against `base`, each group with the base twice.

        A session is evaluated once, in the first process that times it, which also does the passes beside latency.
        """
        await_power_mode(self.condition.settings, report=self.report, checkpoint=self.checkpoint)
        started = time.monotonic()
        parts = split_evenly(list(networks), MAX_SESSIONS - 2)
        groups = []
        for number, names in enumerate(parts):
            sessions = {BASE: base, CONTROL: base, **{name: networks[name] for name in names}}
            groups.append(_Group(self, sessions, number=number, groups=len(parts)).run())
        self._seconds["starting"] = time.monotonic() - started - sum(self._seconds.values())
        seconds = {name: round(spent, 3) for name, spent in self._seconds.items()}
        return Timed(groups, self._conditions, self._accuracies, seconds)

    def process(
        self, sessions: Mapping[str, Path], folder: Path, *, seed: int, message: str, processes_left: int
    ) -> Event:
        """Run one measuring process that times these sessions, and leave its samples in `folder`."""
        self.checkpoint()
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()

        def tell(event: Event) -> None:
            elapsed_s = time.monotonic() - started
            left_s = self._seconds_left(len(sessions), processes_left, elapsed_s)
            if event["phase"] == "timing":
                left_s = max(left_s, round(event["expect_s"], 1))
            spent_s = sum(self._spent) + elapsed_s
            fraction = spent_s / (spent_s + left_s)
            self.report(Progress(phase=event["phase"], message=message, fraction=fraction, seconds_left=left_s))

        result = run_harness(
            self._request(sessions, folder, seed), log=folder / "log.txt", on_progress=tell, python=self.python
        )
        self._spent.append(time.monotonic() - started)
        self._accuracies.update(result["accuracies"])
        self._asked |= sessions.keys()
        self._conditions = result["conditions"]
        for name, spent in result["seconds"].items():
            self._seconds[name] = self._seconds.get(name, 0.0) + spent
        return result

    def forget(self, sessions: Iterable[str]) -> None:
        """Evaluate these sessions again in the next process that times them."""
        self._asked.difference_update(sessions)

    def _request(self, sessions: Mapping[str, Path], folder: Path, seed: int) -> Event:
        wanted = [name for name in sessions if name != CONTROL and name not in self._asked]
        evaluation, budget = self.evaluation, self.budget
        request: Event = {
            "backend": self.condition.backend,
            "precision": self.condition.precision,
            "threads": self.condition.threads,
            "settings": dict(without_mode(self.condition.settings)),
            "shape": [self.condition.batch_size, *self.shape],
            "networks": {name: str(path) for name, path in sessions.items()},
            "plan": asdict(budget.plan),
            "seed": seed,
            "folder": str(folder),
            "cache": None if self.cache is None else str(self.cache),
        }
        if self.calibration is not None:
            request["calibration"] = {"pack": str(self.calibration.path), "preprocess": self.calibration.preprocess}
        if wanted and evaluation is not None:
            request["evaluate"] = {
                "pack": str(evaluation.pack),
                "preprocess": evaluation.preprocess,
                "references": {name: str(evaluation.references[name]) for name in wanted},
            }
        if wanted and (budget.batches or budget.energy_s):
            request["extras"] = {
                "sessions": wanted,
                "batches": budget.batches,
                "throughput_s": budget.throughput_s,
                "energy_s": budget.energy_s,
            }
        return request

    def _seconds_left(self, sessions: int, processes: int, elapsed_s: float) -> float:
        plan = self.budget.plan
        planned_s = START_S + sessions * (1.2 * plan.warmup_later_min_s + plan.cycles * 2 * plan.block_ms / 1000)
        each_s = self._spent[-1] if self._spent else planned_s
        return round(max(1.0, each_s * processes - elapsed_s), 1)


@dataclass
class _Group:
    """One group on its way: together in each process if they fit, each in processes of its own if not."""

    timer: Timer
    sessions: Mapping[str, Path]
    number: int
    groups: int

    def run(self) -> MeasuredGroup:
        try:
            return self._measure(together=True)
        except LayerPruneError as error:
            if error.code != "oom" or len(self.sessions) < 2:
                raise
        # Every session is evaluated again, because the processes that did it before are not part of the result.
        self.timer.forget(self.sessions)
        group = self._measure(together=False)
        return group.model_copy(update={"flags": [*group.flags, "not_coresident"]})

    def _measure(self, *, together: bool) -> MeasuredGroup:
        """Start round after round until a look finds every interval narrow, or the budget is spent."""
        budget, rounds, looks = self.timer.budget, list[Round](), []
        least = budget.processes if together else max(budget.processes, MIN_PROCESSES_FOR_T)
        for aim in [least, *(further for further in budget.further if further > least)]:
            while len(rounds) < aim:
                rounds.append(self._round(len(rounds), aim, together=together))
            if not budget.further:
                break
            looks.append({"processes": aim, "widest": round(self._widest(rounds), 5)})
            if looks[-1]["widest"] <= TARGET_HALF_WIDTH:
                break
        group = collect(list(self.sessions), rounds, self.timer.folder, group=self.number)
        if looks:
            group.observed["looks"] = {"alpha": LOOK_ALPHA, "target": TARGET_HALF_WIDTH, "taken": looks}
        return group

    def _round(self, number: int, aim: int, *, together: bool) -> Round:
        parts = [list(self.sessions)] if together else [[name] for name in self._order(number)]
        processes = []
        for i, names in enumerate(parts):
            folder = (
                self.timer.folder
                / "raw"
                / "-".join(str(part) for part in (self.number, number, *([] if together else [i])))
            )
            of_others = (self.groups - self.number - 1) * self.timer.budget.processes
            result = self.timer.process(
                {name: self.sessions[name] for name in names},
                folder,
                seed=self.timer.seed + 1000 * self.number + number,
                message=self._message(number, aim, names if not together else []),
                processes_left=of_others + (aim - number) * len(parts) - i,
            )
            processes.append((folder, result))
        return Round.read(processes)

    def _order(self, number: int) -> list[str]:
        """Random for every second round, and the same backwards for the one after it, as in a cycle."""
        order = list(self.sessions)
        random.Random(self.timer.seed + 1000 * self.number + number // 2).shuffle(order)
        return order[::-1] if number % 2 else order

    def _message(self, number: int, aim: int, alone: Sequence[str]) -> str:
        message = f"group {self.number + 1} of {self.groups}"
        if aim > 1:
            message += f", process {number + 1} of {aim}"
        return message + "".join(f", {name} alone" for name in alone)

    def _widest(self, rounds: Sequence[Round]) -> float:
        base = samples_of(BASE, rounds)
        return max(
            ratio(samples_of(name, rounds), base, seed=self.timer.seed).half_width
            for name in self.sessions
            if name != BASE
        )


def split_evenly(names: list[str], most: int) -> list[list[str]]:
    """Split into as few parts of at most `most` as possible, of sizes that differ by one at most; never into none."""
    parts = max(1, math.ceil(len(names) / most))
    return [list(part) for part in np.array_split(np.array(names, dtype=object), parts)]
