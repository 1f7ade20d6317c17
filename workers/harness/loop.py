"""The measuring loop: warm up until steady, then time sessions in short interleaved blocks (protocol `ss-1`).

A cycle visits all sessions in random order and then in the mirrored order (ABBA), so that a drift of the machine falls
on all of them alike. Between the two readings of the clock there is one inference and nothing else.
"""

from __future__ import annotations

import gc
import random
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from .backends.base import Session
from .errors import HarnessError

PROTOCOL = "ss-1"
WINDOW_RUNS, WINDOW_NS = 20, 50_000_000
STEADY_WITHIN = 0.02
GROUP_BELOW_NS = 50_000
"""Faster inferences are timed several at a time, because reading the clock would show in them."""
MIN_RUNS_PER_BLOCK = 3

Clock = Callable[[], int]


@dataclass(frozen=True)
class Plan:
    """How long to warm up and how to time; durations in the unit of their name.

    The first session of a process also wakes the machine (clocks, caches of the runtime's code); the later ones have
    only themselves to warm up, so a plan in a hurry gives them less.
    """

    cycles: int = 10
    block_ms: float = 50.0
    warmup_min_s: float = 1.0
    warmup_later_min_s: float = 1.0
    warmup_min_runs: int = 50
    warmup_cap_s: float = 30.0


@dataclass(frozen=True)
class Warmup:
    """What warming up one session came to."""

    runs: int
    seconds: float
    steady: bool
    typical_ns: float


@dataclass(frozen=True)
class Pace:
    """How one session is timed: so many samples to a block, each the mean of so many runs."""

    samples: int
    runs_per_sample: int


@dataclass(frozen=True)
class TimedBlock:
    """The samples of one session at one place of one cycle, in nanoseconds per inference.

    `parts_ns` (samples, parts) is what the last inference of each sample spent on each part that the session knows.
    """

    session: str
    cycle: int
    position: int
    samples_ns: np.ndarray
    parts_ns: np.ndarray


def warm_up(session: Session, clock: Clock, plan: Plan, *, is_first: bool = True) -> Warmup:
    """Run a session for the least time and number of runs, and on until two successive windows agree, up to the cap.

    A window is at least 20 runs and 50 ms: windows of 20 runs of a tenth of a millisecond differ by chance.
    """
    least_s = plan.warmup_min_s if is_first else plan.warmup_later_min_s
    before: List[int] = []
    window: List[int] = []
    runs = window_ns = 0
    steady = False
    began = clock()
    while True:
        start = clock()
        session.run()
        now = clock()
        window.append(now - start)
        window_ns += now - start
        runs += 1
        elapsed_s = (now - began) / 1e9
        if elapsed_s >= plan.warmup_cap_s:
            break
        if len(window) < WINDOW_RUNS or window_ns < WINDOW_NS:
            continue
        if before and elapsed_s >= least_s and runs >= plan.warmup_min_runs:
            steady = is_steady(before, window)
            if steady:
                break
        before, window, window_ns = window, [], 0
    return Warmup(runs, elapsed_s, steady, float(np.median(before + window)))


def is_steady(first: Sequence[int], second: Sequence[int]) -> bool:
    """Say whether two successive windows have medians and lower quartiles within 2 % of each other.

    pyperf's calibration rule, which also compares means, upper quartiles and spreads, was tried: sessions that had
    long been steady seldom passed it, so that warm-up ended by luck (benchmarks/steadiness.py).
    """
    levels = np.percentile(first, (25, 50)), np.percentile(second, (25, 50))
    return bool(np.all(np.abs(levels[0] - levels[1]) <= STEADY_WITHIN * levels[1]))


def choose_pace(typical_ns: float, plan: Plan) -> Pace:
    """Fill a block of about the planned length; group runs into samples only where one is too short to time alone."""
    runs = max(MIN_RUNS_PER_BLOCK, round(plan.block_ms * 1e6 / typical_ns))
    group = int(np.ceil(GROUP_BELOW_NS / typical_ns)) if typical_ns < GROUP_BELOW_NS else 1
    return Pace(max(MIN_RUNS_PER_BLOCK, runs // group), group)


def mirrored_orders(names: Sequence[str], *, cycles: int, seed: int) -> Iterator[Tuple[int, int, str]]:
    """Yield (cycle, position, session): in each cycle a random order and then the same backwards."""
    shuffler = random.Random(seed)
    for cycle in range(cycles):
        order = list(names)
        shuffler.shuffle(order)
        for position, name in enumerate(order + order[::-1]):
            yield cycle, position, name


def time_interleaved(
    sessions: Dict[str, Session],
    paces: Dict[str, Pace],
    clock: Clock,
    *,
    cycles: int,
    seed: int,
    between_cycles: Callable[[int], None],
) -> List[TimedBlock]:
    """Time all sessions in interleaved blocks; `between_cycles` is called with the number of finished cycles."""
    blocks = []
    done = 0
    with _no_garbage_collection():
        for cycle, position, name in mirrored_orders(list(sessions), cycles=cycles, seed=seed):
            if cycle != done:
                done = cycle
                between_cycles(done)
            blocks.append(_visit(sessions[name], clock, paces[name], name, cycle, position))
    return blocks


def _visit(session: Session, clock: Clock, pace: Pace, name: str, cycle: int, position: int) -> TimedBlock:
    parts: List[Tuple[int, ...]] = []
    ask = (lambda: parts.append(session.parts_ns())) if session.parts else None
    samples = time_block(session.run, clock, pace, after_each=ask)
    table = np.array(parts, dtype=np.int64).reshape(len(parts), len(session.parts))
    return TimedBlock(name, cycle, position, samples, table)


def time_block(
    run: Callable[[], None], clock: Clock, pace: Pace, *, after_each: Optional[Callable[[], None]] = None
) -> np.ndarray:
    """Time one block; int64 nanoseconds per inference, one value per sample, never below 1.

    `after_each` is called after each sample, outside of what is timed. Raises HarnessError (`infra`, which is tried
    again) if the clock went backwards.
    """
    times = [0] * pace.samples
    group = range(pace.runs_per_sample)
    for i in range(pace.samples):
        if pace.runs_per_sample == 1:
            start = clock()
            run()
            times[i] = clock() - start
        else:
            start = clock()
            for _ in group:
                run()
            times[i] = clock() - start
        if after_each is not None:
            after_each()
    if min(times) < 0:
        raise HarnessError(
            "infra",
            "the clock went backwards by %d ns while a network was timed" % -min(times),
            value=min(times),
            remedy="Measure on a machine whose monotonic clock is sound; see its kernel's clocksource.",
        )
    return np.maximum(np.rint(np.array(times) / pace.runs_per_sample).astype(np.int64), 1)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
