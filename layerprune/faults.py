"""Kill this process at a named point, to prove that nothing is lost when it dies there; off unless asked for.

`LAYERPRUNE_FAULT=POINT` names the point and `LAYERPRUNE_FAULT_FLAG=FILE` a file that must not exist yet: it is made
just before the kill, so that the process that is started in its place runs through. The points:

    worker.uploaded           the files of a result are stored, its report is not sent
    worker.spooled            the report is on the worker's disk, not sent
    server.result_committed   the server has committed a result and not answered
"""

from __future__ import annotations

import os
import signal


def point(name: str) -> None:
    """Die by SIGKILL here if the environment names this point and it has not struck before."""
    if os.environ.get("LAYERPRUNE_FAULT") != name:
        return
    flag = os.environ.get("LAYERPRUNE_FAULT_FLAG")
    if not flag:
        return
    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
