"""What the kernel reports while something is timed: heat, hardware errors, faults of a GPU, a lack of memory."""

from __future__ import annotations

import os
import re
from typing import List, Optional

MAX_LINES = 10
_ALARMING = re.compile(
    r"NVRM: Xid|Out of memory|oom-kill|oom_reaper|hung_task|blocked for more than|soft lockup|hard LOCKUP|"
    r"Machine [Cc]heck|mce: |\[Hardware Error\]|above threshold|thermal.*critical|critical temperature|"
    r"throttl(ed|ing)|over.?current|under.?voltage|clocksource: .*unstable",
)


class KernelLog:
    """Reads `dev/kmsg` below `root` from now on; it takes a right that not every user has, and then stays silent."""

    def __init__(self, root: str = "/") -> None:
        self._file: Optional[int] = None
        try:
            self._file = os.open(os.path.join(root, "dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._file, 0, os.SEEK_END)
        except OSError:
            self.close()

    @property
    def is_readable(self) -> bool:
        return self._file is not None

    def alarming(self) -> List[str]:
        """Return the alarming lines since the last call, at most ten, without the record's prefix."""
        return [line for line in self._new_lines() if _ALARMING.search(line)][:MAX_LINES]

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _new_lines(self) -> List[str]:
        lines: List[str] = []
        while self._file is not None:
            try:
                record = os.read(self._file, 8192)
            except BrokenPipeError:  # the kernel overwrote what we had not read yet; reading goes on after it
                continue
            except OSError:  # EAGAIN: nothing more for now
                break
            if not record:
                break
            for line in record.decode("utf-8", "replace").splitlines():
                if line and not line.startswith(" "):  # further lines of a record are its dictionary
                    lines.append(line.partition(";")[2] or line)
        return lines
