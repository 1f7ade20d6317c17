"""How much energy passes between two moments: from counters of the hardware, or from power sampled many times.

Sources, the most direct one first: the GPU's own counter (NVML), the rails of a Jetson board, and the processors'
counters (RAPL; the kernel's Documentation/power/powercap/powercap.rst). Root alone may read RAPL on most systems.
"""

from __future__ import annotations

import threading
import time
from typing import Callable, List, NamedTuple, Optional, Protocol, Sequence, Tuple

from .files import Files
from .sensors.nvml import NvmlSensor, find_nvml
from .sensors.rails import Rail, board_rails, find_rails

SAMPLE_EVERY_S = 0.04
"""25 samples a second: a power monitor averages over some ms, and reading one takes about a ms of a processor."""


class Reading(NamedTuple):
    """Energy that passed in `seconds`, from so many readings of the hardware."""

    millijoules: float
    seconds: float
    samples: int


class Meter(Protocol):
    """Measures energy between `start` and `stop`; can be used again. `source` says what it measures."""

    source: str

    def start(self) -> None:
        """Begin."""

    def stop(self) -> Optional[Reading]:
        """End and say what passed; None if the hardware stopped answering."""


class Counter(NamedTuple):
    """A counter of millijoules, and the value after which it starts again at zero, if it does."""

    read: Callable[[], Optional[float]]
    range_mj: Optional[float] = None

    def since(self, first: Optional[float]) -> Optional[float]:
        """Return what was counted since an earlier reading; None if either is missing, or the range unknown."""
        last = self.read()
        if first is None or last is None:
            return None
        if last >= first:
            return last - first
        return None if self.range_mj is None else last - first + self.range_mj


def find_meter(root: str = "/", gpu: bool = False) -> Optional[Meter]:
    """Return the best meter of this machine, or None; `gpu` says that what is measured runs on a GPU.

    A processor's counter is no meter for a GPU, nor the other way round; the rails of a Jetson hold both.
    """
    files = Files(root)
    nvml = find_nvml() if gpu else None
    if nvml is not None:
        for handle in nvml.gpus()[:1]:
            card = NvmlSensor(nvml, handle)
            if card.energy_mj() is not None:
                return CounterMeter("nvml", [Counter(card.energy_mj)])
    rails = board_rails(find_rails(files))
    if rails:
        return RailMeter(files, rails)
    return None if gpu else _find_rapl(files)


class CounterMeter:
    """Meter made of counters; each may start again at zero once between two readings."""

    def __init__(
        self, source: str, counters: Sequence[Counter], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.source = source
        self._counters = counters
        self._clock = clock
        self._began_s = 0.0
        self._first: List[Optional[float]] = []

    def start(self) -> None:
        self._began_s, self._first = self._clock(), [counter.read() for counter in self._counters]

    def stop(self) -> Optional[Reading]:
        seconds, total = self._clock() - self._began_s, 0.0
        for number, counter in enumerate(self._counters):
            passed = counter.since(self._first[number])
            if passed is None:
                return None
            total += passed
        return Reading(total, seconds, 2)


class RailMeter:
    """Meter that samples power rails in a thread and integrates them by the trapezoidal rule."""

    def __init__(self, files: Files, rails: Sequence[Rail], *, every_s: float = SAMPLE_EVERY_S) -> None:
        self.source = "rails " + "+".join(rail.name for rail in rails)
        self._files = files
        self._rails = rails
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread: Optional[threading.Thread] = None
        self._samples: List[Tuple[float, float]] = []

    def start(self) -> None:
        self._samples = []
        self._stopped.clear()
        self._sample()
        self._thread = threading.Thread(target=self._keep_sampling, name="power-rails", daemon=True)
        self._thread.start()

    def stop(self) -> Optional[Reading]:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        self._sample()
        if len(self._samples) < 2:
            return None
        seconds = self._samples[-1][0] - self._samples[0][0]
        return Reading(integrate(self._samples), seconds, len(self._samples))

    def _keep_sampling(self) -> None:
        while not self._stopped.wait(self._every_s):
            self._sample()

    def _sample(self) -> None:
        began = time.monotonic()
        powers = [rail.milliwatts(self._files) for rail in self._rails]
        # Reading takes a while, so the values belong to its middle.
        at_s = (began + time.monotonic()) / 2
        if all(power is not None for power in powers):
            self._samples.append((at_s, sum(power or 0.0 for power in powers)))


def integrate(samples: Sequence[Tuple[float, float]]) -> float:
    """Integrate (seconds, milliwatts) by the trapezoidal rule, in millijoules."""
    total = 0.0
    for number in range(1, len(samples)):
        (t0, p0), (t1, p1) = samples[number - 1], samples[number]
        total += (t1 - t0) * (p0 + p1) / 2
    return total


def _find_rapl(files: Files) -> Optional[Meter]:
    """Return a meter of all processor packages, or None if there are none or one cannot be read."""
    names, counters = [], []
    for zone in files.find("/sys/class/powercap/intel-rapl:*"):
        name = files.text(zone + "/name") or ""
        if not name.startswith("package"):
            continue
        counter = Counter(_microjoules(files, zone + "/energy_uj"), _range_mj(files, zone))
        if counter.read() is None:
            return None
        names.append(name)
        counters.append(counter)
    return CounterMeter("rapl " + "+".join(names), counters) if counters else None


def _microjoules(files: Files, path: str) -> Callable[[], Optional[float]]:
    def read() -> Optional[float]:
        found = files.number(path)
        return None if found is None else found / 1000

    return read


def _range_mj(files: Files, zone: str) -> Optional[float]:
    found = files.number(zone + "/max_energy_range_uj")
    return None if found is None else found / 1000
