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
    "changepoint": Flag(
        "The level of the samples shifted by more than 2 % while they were taken.",
        "Measure again with fixed clocks and nothing else running.",
        "flag",
    ),
    "canary_off": Flag(
        "The fixed small network that every task times was not as fast as it used to be on this device.",
        "Find out what changed on the device (clocks, cooling, updates, other programs), then measure again.",
        "flag",
    ),
    "throttled": Flag(
        "The device lowered its clocks while it was timed, because of heat or power.",
        "Cool it better, raise its power limit, or fix lower clocks.",
        "flag",
    ),
    "hot_start": Flag(
        "The device was still warmer than at the start of the task when its waiting time was over.",
        "Cool it better, or leave more time between measurements.",
        "flag",
    ),
    "clock_drop": Flag(
        "The clocks were lower than what they are fixed to, or lower at the end than at the start.",
        "Fix lower clocks that the device can hold, and look at its cooling and power limit.",
        "flag",
    ),
    "foreign_process": Flag(
        "Another process computed on the device's GPU.",
        "Stop it, or give the worker a GPU of its own.",
        "flag",
    ),
    "foreign_load": Flag(
        "Other processes used the processors while the network was timed.",
        "Stop what else runs on the device and measure again.",
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
    "kernel_log": Flag(
        "The kernel reported heat, a hardware error, a fault of the GPU or a lack of memory meanwhile.",
        "Read the lines in the measurement's observations and mend their cause first.",
        "flag",
    ),
    "clock_jump": Flag(
        "The machine's clocks disagreed about how long the timing took: it was suspended, moved, or a clock was set.",
        "Measure again while the machine is neither suspended nor migrated.",
        "flag",
    ),
    "output_mismatch": Flag(
        "The timed session does not compute what the trained network computes.",
        "Do not use this variant on this runtime; look at the export and the precision.",
        "invalid",
    ),
    "unproven_backend": Flag(
        "No report of 'layerprune device check' has proven this runtime on this kind of device.",
        "Run on the device: layerprune device check --upload --device NAME.",
        "flag",
    ),
    "single_process": Flag(
        "All samples come from one process, so the interval does not cover differences between processes.",
        "Use the standard budget where the last percent matters.",
        "note",
    ),
    "not_coresident": Flag(
        "The networks did not fit into memory together, so each was timed in processes of its own, in turn.",
        "Nothing; the intervals cover it. A device with more memory gives narrower ones.",
        "note",
    ),
    "single_build": Flag(
        "All samples come from one build of the engine; another build of the same network may choose other kernels.",
        "Measure with several builds where the last percent matters.",
        "note",
    ),
    "below_noise_floor": Flag(
        "The difference to the base is smaller than what this device shows between two copies of one network.",
        "Treat it as a tie, or make the device quieter.",
        "note",
    ),
    "n_too_small": Flag(
        "There are too few samples for any percentile beyond the median.",
        "Use a larger budget if the tail matters.",
        "note",
    ),
    "autocorrelated": Flag(
        "Successive samples resemble each other, so they tell less than as many independent ones would.",
        "Nothing, as a rule: the intervals come from cycles and processes, not from single samples.",
        "note",
    ),
    "process_spread_high": Flag(
        "The slowest process's median is more than 5 % above the fastest one's.",
        "Nothing for ratios, which compare within processes; for the latency itself, measure on a quieter device.",
        "note",
    ),
    "cpu_cv_high": Flag(
        "Single inferences vary by more than 10 %.",
        "Look at the tail percentiles if single answers must come in time; the median and its interval hold.",
        "note",
    ),
    "gpu_cv_high": Flag(
        "The GPU's own computing time varies by more than 2.5 %.",
        "Fix its clocks below their maximum.",
        "note",
    ),
    "enqueue_bound": Flag(
        "Handing the work to the GPU takes more than 0.8 of its computing time, so the processor sets the pace.",
        "Use a CUDA graph or a larger batch if the GPU is to be the limit.",
        "note",
    ),
    "transfer_bound": Flag(
        "Copying to or from the device takes as long as computing.",
        "Keep inputs and outputs on the device, or use a larger batch.",
        "note",
    ),
    "clocks_unlocked": Flag(
        "The device chooses its clocks by itself, as it would in use; they may differ from run to run.",
        "Fix the clocks if you need repeatable numbers.",
        "note",
    ),
    "pressure": Flag(
        "Tasks waited for a processor during more than 5 % of the timing.",
        "Leave a processor free beside the threads that are measured.",
        "note",
    ),
    "involuntary_switches": Flag(
        "The kernel took the processor away from the timed process more than ten times a second.",
        "Leave a processor free beside the threads that are measured.",
        "note",
    ),
}


def verdict(flags: Iterable[str]) -> Literal["stable", "flagged", "invalid"]:
    """Say what the flags amount to; raises UnknownName for a flag that is not in the table."""
    levels = {_get(name).level for name in flags}
    if "invalid" in levels:
        return "invalid"
    return "flagged" if "flag" in levels else "stable"


def doubts(flags: Iterable[str]) -> tuple[str, ...]:
    """Return those of the flags that keep a row out of the ranking, sorted; raises UnknownName."""
    return tuple(sorted({name for name in flags if _get(name).level != "note"}))


def _get(name: str) -> Flag:
    if name not in FLAGS:
        raise UnknownName("flag", name, FLAGS)
    return FLAGS[name]
