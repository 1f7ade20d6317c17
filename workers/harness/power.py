"""Power modes of a Jetson: which one it is in, which ones it has, and whether that is the one asked for.

`nvpmodel -q` says the mode. Where it may not be run, nvpmodel's own files say it: /var/lib/nvpmodel/status holds
`pmode:0002`, and /etc/nvpmodel.conf names the modes in lines `< POWER_MODEL ID=2 NAME=MODE_30W >` and, until one was
chosen, the mode of the first start in `< PM_CONFIG DEFAULT=2 >`.
"""

from __future__ import annotations

import re
import subprocess
from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Sequence

from .errors import HarnessError
from .files import Files

SETTING = "power_mode"
"""The setting of a condition that asks for a mode, by name or number."""

Run = Callable[[Sequence[str]], Optional[str]]
"""Runs a command and returns what it printed, or None if that failed."""


class PowerMode(NamedTuple):
    """A mode's number and name, such as 0 and MAXN."""

    id: int
    name: str

    def is_called(self, wanted: object) -> bool:
        """Say whether somebody who asks for `wanted`, a name or a number, means this mode."""
        return str(wanted).strip() == str(self.id) or _plain(str(wanted)) == _plain(self.name)


def run_command(command: Sequence[str]) -> Optional[str]:
    """Run a command of this machine for at most ten seconds."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")


def mode(files: Files, run: Optional[Run] = None) -> Optional[PowerMode]:
    """Return the mode that this machine is in, or None if it has no modes or does not tell."""
    known = modes(files)
    if not known and files.text("/var/lib/nvpmodel/status") is None:
        return None
    run = run or (run_command if files.is_this_machine else _run_nothing)
    told = run(["nvpmodel", "-q"]) or ""
    found = re.search(r"NV Power Mode:\s*(\S.*?)\s*\n\s*(\d+)", told)
    if found:
        return PowerMode(int(found.group(2)), found.group(1))
    chosen = re.search(r"pmode:(\d+)", files.text("/var/lib/nvpmodel/status") or "")
    chosen = chosen or re.search(r"<\s*PM_CONFIG\s+DEFAULT=(\d+)", files.text("/etc/nvpmodel.conf") or "")
    if chosen is None:
        return None
    number = int(chosen.group(1))
    return next((one for one in known if one.id == number), PowerMode(number, str(number)))


def modes(files: Files) -> List[PowerMode]:
    """List the modes that this machine has."""
    found = re.findall(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", files.text("/etc/nvpmodel.conf") or "")
    return [PowerMode(int(number), name) for number, name in found]


def without_mode(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings that are the runtime's own."""
    return {name: value for name, value in settings.items() if name != SETTING}


def wait_reason(settings: Mapping[str, Any], files: Files, run: Optional[Run] = None) -> Optional[str]:
    """Say why a task with these settings must wait for another power mode; None if it can start.

    Raises HarnessError with code `bad_input` for a mode that this machine does not have.
    """
    wanted = settings.get(SETTING)
    if wanted is None:
        return None
    current, known = mode(files, run), modes(files)
    if current is not None and current.is_called(wanted):
        return None
    target = next((one for one in known if one.is_called(wanted)), None)
    if current is None or target is None:
        names = ", ".join("%s (%d)" % (one.name, one.id) for one in known) or "none"
        raise HarnessError(
            "bad_input",
            "the power mode %r was asked for, but this device has: %s" % (wanted, names),
            value=wanted,
            remedy="Ask for one of its modes, or leave power_mode out.",
        )
    return "waits for power mode %s; the device is in %s: run 'sudo nvpmodel -m %d' on it" % (
        target.name,
        current.name,
        target.id,
    )


def _run_nothing(_: Sequence[str]) -> None:
    """Stand for the commands of a machine of which there are only files."""


def _plain(name: str) -> str:
    """Return a name in one spelling: MODE_30W and "30w", MAXN_SUPER and "MAXN SUPER" are the same."""
    plain = re.sub(r"[\s_-]+", "_", name.strip().upper())
    return plain[len("MODE_") :] if plain.startswith("MODE_") else plain
