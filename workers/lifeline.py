"""Tie a process's life to its parent's, so that nothing is left behind when any of them is killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, the process that started it, is gone.

    Linux alone offers this; elsewhere a child of a killed worker runs to its end. The signal is tied to the *thread*
    that started the child, so start children from a thread that lives as long as the worker.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # The parent may have died before the call above.
    if os.getppid() != parent:
        os._exit(1)


def kill_group(leader: int) -> None:
    """Kill a process group at once; one that is gone already is fine."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return
