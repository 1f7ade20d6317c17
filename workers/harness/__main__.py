"""`python -m workers.harness`: one JSON spec on standard input, JSON lines on standard output.

Lines are `{"event": "progress", ...}` and at the end `{"event": "result", ...}` or `{"event": "error", ...}`. The
request `{"describe": true}` answers with the runtimes and the machine instead of measuring; a spec with "try_out" or
"profile" has its networks tried or profiled instead of timed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any, Dict, Optional

from .backends import BACKENDS, load_backend
from .conditions import key
from .energy import find_meter
from .errors import HarnessError
from .files import Files
from .host import Host
from .power import SETTING, modes
from .process import measure
from .profiling import profile
from .sensors import facts as hardware_facts
from .sensors import find_sensors
from .spec import Spec
from .trial import try_out

PR_SET_PDEATHSIG = 1
GPU_FACTS = ("gpu", "compute_capability")
"""What of a runtime's hardware describes the machine; with the second a build worker can try an engine for it."""


def die_with(parent: Optional[int]) -> None:
    """Have the kernel kill this process when the process that started it dies, however that dies."""
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def describe(root: str) -> Dict[str, Any]:
    """Return what this machine is, which runtimes it has (and why not the others), its sensors and its energy meter."""
    host = Host(root)
    limit = host.cpu_limit()
    common = [SETTING] if modes(Files(root)) else []
    backends, missing, gpu = [], {}, {}
    for name in sorted(BACKENDS):
        try:
            backend = load_backend(name)
            gpu.update({fact: value for fact, value in backend.hardware().items() if fact in GPU_FACTS})
        except HarnessError as error:
            missing[name] = error.message
            continue
        backends.append(
            {
                "name": backend.name,
                "version": backend.version,
                "precisions": list(backend.precisions),
                "max_opset": backend.max_opset,
                "max_threads": limit.threads,
                "threads_limited_by": limit.origin,
                "settings": sorted([*backend.settings, *common]),
            }
        )
    machine = key(host, load_backend("null"), precision="fp32", threads=1, shape=(1,))
    facts = {name: machine[name] for name in ("device_model", "cpus", "architecture", "os", "clock_policy")}
    facts.update(gpu, usable_cpus=len(host.cpus), max_threads=limit.threads, memory_bytes=host.memory_bytes())
    facts.update(hardware_facts(root))
    meter = find_meter(root) or find_meter(root, gpu=True)
    return {
        "backends": backends,
        "missing": missing,
        "facts": facts,
        "sensors": {sensor.name: {"policy": sensor.policy(), "now": sensor.read()} for sensor in find_sensors(root)},
        "energy": None if meter is None else meter.source,
    }


def main() -> int:
    # Runtimes may print; only our own lines may reach the parent.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(event: str, **fields: Any) -> None:
        channel.write(json.dumps({"event": event, **fields}) + "\n")
        channel.flush()

    request = json.load(sys.stdin)
    die_with(request.get("parent"))
    try:
        if request.get("describe"):
            send("result", **describe(str(request.get("root", "/"))))
        else:
            do = try_out if request.get("try_out") else profile if request.get("profile") else measure
            send(
                "result", **do(Spec.from_dict(request), lambda phase, **fields: send("progress", phase=phase, **fields))
            )
    except HarnessError as error:
        send("error", **error.to_dict())
        return 1
    except MemoryError as error:
        send("error", **HarnessError("oom", "the measuring process ran out of memory: %s" % error).to_dict())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
