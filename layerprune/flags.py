"""What can be doubtful about a measurement, as a closed table, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from layerprune.api.errors import UnknownName

Level = Literal["note", "flag", "invalid"]


@dataclass(frozen=True)
class Flag:
    """One reason for doubt.

    A `note` leaves the verdict alone, a `flag` keeps the row out of the ranking, `invalid` voids it.
    """

    meaning: str
    remedy: str
    level: Level


FLAGS: dict[str, Flag] = {
    "no_steady_state": Flag(
        "Warm-up reached its limit before two successive windows of runs agreed.",
        "Measure again with the standard budget; if it stays, the device's clocks are probably not at rest.",
        "flag",
    ),
    "ci_not_met": Flag(
        "The 95 % interval of the ratio to the base is wider than 2 % to either side.",
        "Measure again with a larger budget or on a quieter device.",
        "flag",
    ),
    "aa_off": Flag(
        "The base measured against itself in the same run did not come out as 1.",
        "Measure again; if it stays, something else disturbs this device.",
        "flag",
    ),
    "cgroup_throttled": Flag(
        "The container ran into its CPU quota while it was timed.",
        "Raise the container's CPU quota or use fewer threads.",
        "flag",
    ),
    "steal": Flag(
        "The hypervisor took processor time away while the network was timed.",
        "Measure on a machine with dedicated processors, or at a quieter hour.",
        "flag",
    ),
    "foreign_load": Flag(
        "Other processes used the processors while the network was timed.",
        "Stop what else runs on the device and measure again.",
        "flag",
    ),
    "output_mismatch": Flag(
        "The timed session does not compute what the trained network computes.",
        "Do not use this variant on this runtime; look at the export and the precision.",
        "invalid",
    ),
    "single_process": Flag(
        "All samples come from one process, so the interval does not cover differences between processes.",
        "Use the standard budget where the last percent matters.",
        "note",
    ),
}


def verdict(flags: Iterable[str]) -> Literal["stable", "flagged", "invalid"]:
    """Say what the flags amount to; raises UnknownName for a flag that is not in the table."""
    levels = {_get(name).level for name in flags}
    if "invalid" in levels:
        return "invalid"
    return "flagged" if "flag" in levels else "stable"


def _get(name: str) -> Flag:
    if name not in FLAGS:
        raise UnknownName("flag", name, FLAGS)
    return FLAGS[name]
