"""A process that has imported torch and the library, and forks a fresh child for every build.

So the imports, seconds each, are paid once. It is started with its parent's process id, the descriptor of a Unix
socket, the folder of the host's locks and the names of the modules to import. It stays single-threaded: it takes one
request, forks, waits for the child, answers, and takes the next. A request is the task's folder, with the pipe for the
child's messages; the answers are `{"pid": ...}` and, when the child has ended, `{"status": ...}`. It reaps the child,
and so frees its process id, only when the agent has confirmed that.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

from .child import LOG, run_task
from .hostlock import HostLock
from .lifeline import die_with, kill_group


def preload(modules: list[str], lock_folder: Path) -> None:
    """Import what builds need, but not while a measurement has the machine."""
    with HostLock(lock_folder).building():
        for module in modules:
            importlib.import_module(module)
    # Objects that exist now are never freed: keep the collector from touching, and so copying, their pages.
    gc.collect()
    gc.freeze()


def serve(agent: socket.socket) -> None:
    """Fork one child per request until the agent hangs up."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(agent, 65536, 1)
        if not request:
            return
        (channel,) = descriptors
        pid = _fork(Path(json.loads(request)["folder"]), channel, agent)
        os.close(channel)
        agent.sendall(json.dumps({"pid": pid}).encode() + b"\n")
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        agent.sendall(json.dumps({"status": status}).encode() + b"\n")
        agent.recv(1)
        kill_group(pid)
        os.waitpid(pid, 0)


def _fork(folder: Path, channel: int, agent: socket.socket) -> int:
    zygote = os.getpid()
    pid = os.fork()
    if pid:
        # Both sides set the group, so that it exists for the one who needs it first.
        os.setpgid(pid, pid)
        return pid
    try:
        os.setpgid(0, 0)
        die_with(zygote)
        agent.close()
        log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        run_task(folder, channel)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        os._exit(1)
    os._exit(0)


def main() -> None:
    parent, descriptor, lock_folder, *modules = sys.argv[1:]
    die_with(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    preload(modules, Path(lock_folder))
    with socket.socket(fileno=int(descriptor)) as agent:
        serve(agent)


if __name__ == "__main__":
    main()
