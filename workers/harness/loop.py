"""The measuring loop: warm up until steady, then time sessions in short interleaved blocks (protocol `ss-1`).

A cycle visits all sessions in random order and then in the mirrored order (ABBA), so that a drift of the machine falls
on all of them alike. Between the two readings of the clock there is one inference and nothing else.
"""

from __future__ import annotations

import gc
import random
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, Deque, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from .backends.base import Session

PROTOCOL = "ss-1"
WINDOW = 20
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
    """The samples of one session at one place of one cycle, in nanoseconds per inference."""

    session: str
    cycle: int
    position: int
    samples_ns: np.ndarray


def warm_up(session: Session, clock: Clock, plan: Plan, *, is_first: bool = True) -> Warmup:
    """Run a session for the least time and number of runs, and on until two successive windows agree, up to the cap."""
    least_s = plan.warmup_min_s if is_first else plan.warmup_later_min_s
    recent: Deque[int] = deque(maxlen=2 * WINDOW)
    runs = 0
    steady = False
    began = clock()
    while True:
        start = clock()
        session.run()
        now = clock()
        recent.append(now - start)
        runs += 1
        elapsed_s = (now - began) / 1e9
        if elapsed_s >= plan.warmup_cap_s:
            break
        if runs % WINDOW or elapsed_s < least_s or runs < max(plan.warmup_min_runs, 2 * WINDOW):
            continue
        windows = list(recent)
        steady = is_steady(windows[:WINDOW], windows[WINDOW:])
        if steady:
            break
    return Warmup(runs, elapsed_s, steady, float(np.median(recent)))


def is_steady(first: Sequence[int], second: Sequence[int]) -> bool:
    """Say whether two successive windows of runs look alike, by pyperf's calibration rule."""
    low1, low2 = np.percentile(first, 25), np.percentile(second, 25)
    high1, high2 = np.percentile(first, 75), np.percentile(second, 75)
    spread1, spread2 = _median_deviation(first), _median_deviation(second)
    mean1, mean2 = np.mean(first), np.mean(second)
    return bool(
        second[0] <= high1 + 1.5 * (high1 - low1)
        and -0.5 <= (mean1 - mean2) / mean2 <= 0.1
        and abs(spread1 - spread2) <= 0.1 * spread2
        and abs(low1 - low2) <= 0.05 * low2
        and abs(high1 - high2) <= 0.05 * high2
    )


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
            blocks.append(TimedBlock(name, cycle, position, time_block(sessions[name].run, clock, paces[name])))
    return blocks


def time_block(run: Callable[[], None], clock: Clock, pace: Pace) -> np.ndarray:
    """Time one block; int64 nanoseconds per inference, one value per sample, never below 1."""
    times = [0] * pace.samples
    if pace.runs_per_sample == 1:
        for i in range(pace.samples):
            start = clock()
            run()
            times[i] = clock() - start
        return np.maximum(np.array(times, dtype=np.int64), 1)
    group = range(pace.runs_per_sample)
    for i in range(pace.samples):
        start = clock()
        for _ in group:
            run()
        times[i] = clock() - start
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


def _median_deviation(values: Sequence[int]) -> float:
    return float(np.median(np.abs(np.asarray(values) - np.median(values))))
