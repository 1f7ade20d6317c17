"""Is a disturbed measurement noticed, and a quiet one left in peace?

    python benchmarks/detection.py [--repeats 20] [--state FILE] [--output FILE]

Each repeat compares a network with itself at `quick`, two threads, on a quiet machine; beside a busy process on every
processor; beside one on a single processor; and in a control group with half of one processor as its quota (needs root
and a control group file system). "Noticed" means a flag of the disturbance's own kind; "kept out" any flag that keeps
the row from being ranked. Clocks and throttling of other hardware are injected in the tests, not here.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interleaved import machine
from repeats import Entry, Record, networks, share

from layerprune.api.tasks import Condition
from layerprune.flags import verdict
from layerprune.samples import decode
from layerprune.stats import sample_flags
from workers.tasks.measure import BUDGETS
from workers.tasks.timing import BASE, CONTROL, Timer

NETWORK = {"cifar:resnet56": 32}
CGROUPS = Path("/sys/fs/cgroup")
EXPECTED = {
    "quiet": (),
    "a busy process on every processor": ("foreign_load",),
    "a busy process on one processor": ("foreign_load",),
    "a quota of half a processor": ("cgroup_throttled",),
}


def spin() -> None:
    while True:
        pass


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing, as fast as they can."""
    hogs = [multiprocessing.Process(target=spin, daemon=True) for _ in range(processes)]
    for hog in hogs:
        hog.start()
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.join()


@contextmanager
def quota(processors: float) -> Iterator[Path]:
    """A control group (v2 or v1) with a quota; its file of processes."""
    unified = (CGROUPS / "cgroup.controllers").exists()
    folder = (CGROUPS if unified else CGROUPS / "cpu") / f"layerprune-{os.getpid()}"
    if unified:
        (CGROUPS / "cgroup.subtree_control").write_text("+cpu")
    folder.mkdir()
    try:
        if unified:
            (folder / "cpu.max").write_text(f"{round(processors * 100_000)} 100000")
        else:
            (folder / "cpu.cfs_quota_us").write_text(str(round(processors * 100_000)))
        yield folder / "cgroup.procs"
    finally:
        folder.rmdir()


def child(network: str, size: str, seed: str, group: str) -> None:
    """Compare the network with itself, inside the control group if one is named, and print the flags."""
    if group:
        Path(group).write_text(str(os.getpid()))
    with tempfile.TemporaryDirectory() as folder:
        timer = Timer(
            condition=Condition(threads=2),
            shape=(3, int(size), int(size)),
            budget=BUDGETS["quick"],
            seed=int(seed),
            folder=Path(folder),
            report=lambda _: None,
            checkpoint=lambda: None,
        )
        (found,) = timer.run(Path(network), {}).groups
        samples = {one.session: decode((Path(folder) / one.samples).read_bytes()) for one in found.sessions}
        derived = sample_flags(samples[CONTROL], samples[BASE], samples[CONTROL], seed=int(seed))
    print(json.dumps(sorted({*found.flags, *derived})))


def measure(network: Path, size: int, case: str, number: int) -> Entry:
    """One comparison under the case's disturbance."""
    command = [sys.executable, __file__, "--child", str(network), str(size), str(number)]

    def run(group: str = "") -> Entry:
        told = subprocess.run([*command, group], check=True, capture_output=True, text=True).stdout
        return {"flags": json.loads(told.splitlines()[-1])}

    if "quota" in case:
        with quota(0.5) as group:
            return run(str(group))
    with busy({"quiet": 0, "a busy process on one processor": 1}.get(case, os.cpu_count() or 1)):
        return run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--state", type=Path, default=Path("detection.jsonl"), help="what was measured so far")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(*asked.child)
        return
    record = Record(asked.state)
    lines = [machine(), "", "| disturbance | noticed | kept out of the ranking | flags seen |", "|---|---|---|---|"]
    ((_, size, onnx),) = networks(NETWORK)
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(onnx)
        file.flush()
        for case, expected in EXPECTED.items():
            entries = record.repeat(case, asked.repeats, lambda number: measure(Path(file.name), size, case, number))  # noqa: B023
            noticed = sum(bool(set(expected) & set(entry["flags"])) for entry in entries)
            kept_out = sum(verdict(entry["flags"]) != "stable" for entry in entries)
            seen = sorted({flag for entry in entries for flag in entry["flags"]})
            own = share(noticed, len(entries)) if expected else "-"
            lines.append(f"| {case} | {own} | {share(kept_out, len(entries))} | {', '.join(seen)} |")
    print("\n".join(lines))
    if asked.output is not None:
        command = f"python benchmarks/detection.py --repeats {asked.repeats}"
        asked.output.write_text(f"# Disturbances\n\n`{command}`\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
