"""`python -m workers.harness.check`: read every sensor and the energy meter, and write one line of JSON.

It runs under the interpreter that measures, because what can be read depends on what that one has (NVML's package).
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from typing import Any, Callable, Dict, Optional

from ..energy import find_meter
from ..sensors import device_kind, find_sensors
from ..sensors.base import Sensor

QUIET_S = 1.0
"""Between the two readings of every sensor; nothing runs meanwhile."""


def read_sensor(sensor: Sensor, rest: Callable[[], None]) -> Dict[str, Any]:
    """Read one sensor twice; a sensor that is there and fails says so in `problem`."""
    found: Dict[str, Any] = {"name": sensor.name}
    try:
        found["policy"] = sensor.policy()
        before = sensor.read()
        rest()
        found["values"] = sensor.read()
        found["flags"] = sensor.judge(before, found["values"])
    except Exception as error:  # a sensor's foreign errors have no common class, and the others must be read
        found["problem"] = "%s: %s" % (type(error).__name__, error)
    return found


def read_energy(root: str, *, gpu: bool, rest: Callable[[], None]) -> Optional[Dict[str, Any]]:
    """Integrate what the quiet machine takes; None where there is no meter, or it stopped answering."""
    meter = find_meter(root, gpu=gpu)
    if meter is None:
        return None
    meter.start()
    rest()
    reading = meter.stop()
    if reading is None:
        return None
    return {
        "source": meter.source,
        "millijoules": reading.millijoules,
        "seconds": reading.seconds,
        "samples": reading.samples,
    }


def read_all(root: str, rest: Callable[[], None]) -> Dict[str, Any]:
    """Return what all sensors of the machine say."""
    kind = device_kind(root)
    return {
        "kind": kind,
        "python": platform.python_version(),
        "sensors": [read_sensor(sensor, rest) for sensor in find_sensors(root)],
        "energy": read_energy(root, gpu=kind == "gpu", rest=rest),
    }


def main() -> int:
    # Libraries may print; only our own line may reach the parent.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        root = sys.argv[1] if len(sys.argv) > 1 else "/"
        channel.write(json.dumps(read_all(root, lambda: time.sleep(QUIET_S))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
