"""Start no process on a hot device: wait until it is well below where it throttles, or as cool as the task began.

A processor's temperature jumps by tens of degrees within a second of work, which does not change its speed. So where
the device says at which temperature it lowers its clocks, being well below that is enough.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Tuple

BELOW_LIMIT_C = 20.0
"""Where the limit of a sensor is known, a process may start when it shows this much less."""
WITHIN_C = 3.0
"""Elsewhere, when it shows no more than this above what the task's first process began with (Krun's rule)."""
MAX_WAIT_S = 300.0
"""All processes of a task together wait no longer than this."""
STATE = "temperatures.json"

Temperatures = Dict[str, float]


@dataclass(frozen=True)
class Cooling:
    """How long a process waited, and what was still too warm then: sensor -> [now, aim], in degrees Celsius."""

    waited_s: float
    hot: Dict[str, List[float]]


def cool_down(
    read: Callable[[], Temperatures],
    limits: Temperatures,
    folder: Path,
    *,
    say: Callable[[float], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Cooling:
    """Wait until the device is cool enough, or the task's waiting time is over.

    `limits` says where the device lowers its clocks, as far as it is known. `folder` is the task's: the first process
    leaves its temperatures there. `say` is told the seconds that this may take, if it takes any.
    """
    now = read()
    aims, spent_s = _load(folder / STATE)
    for name, value in now.items():
        aims.setdefault(name, limits[name] - BELOW_LIMIT_C if name in limits else value + WITHIN_C)
    began, left_s = clock(), max(0.0, MAX_WAIT_S - spent_s)
    hot = _hot(now, aims)
    if hot and left_s:
        say(left_s)
    while hot and clock() - began < left_s:
        sleep(1.0)
        hot = _hot(read(), aims)
    waited_s = clock() - began
    if aims:
        (folder / STATE).write_text(json.dumps({"aims": aims, "waited_s": spent_s + waited_s}))
    return Cooling(round(waited_s, 1), hot)


def _hot(now: Temperatures, aims: Temperatures) -> Dict[str, List[float]]:
    return {name: [value, round(aims[name], 1)] for name, value in now.items() if name in aims and value > aims[name]}


def _load(path: Path) -> Tuple[Temperatures, float]:
    """What the task's processes before this one left: the temperatures to wait for, and the seconds spent on it."""
    if not path.exists():
        return {}, 0.0
    found = json.loads(path.read_text())
    return dict(found["aims"]), float(found["waited_s"])
