"""A network against itself: how often is it called different, how far off is the ratio, does the interval hold 1?

    python benchmarks/same_network.py [--state FILE] [--output FILE] [--quick 400 100] [--standard 30] [--rivals 100]

Every repeat is a comparison of its own, in fresh processes, by our harness with a budget as a job has it. Beside it
stand the ways in which such numbers are usually made, given the same time for timing: sequential blocks (one process,
first the one session, then the other) and one process per model. Their intervals are Student's for the difference of
means, which is what is usually quoted.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from interleaved import machine
from repeats import Entry, Record, networks, share

from layerprune.api.tasks import Condition
from layerprune.samples import decode
from layerprune.stats import Z95, ratio
from workers.harness.backends.base import Options
from workers.harness.backends.onnxruntime import OnnxRuntimeBackend
from workers.tasks.measure import BUDGETS
from workers.tasks.timing import BASE, CONTROL, Timer

NETWORKS = {"cifar:resnet56": 32, "torchvision:mobilenet_v2": 224}
RIVAL_S, RIVAL_WARMUP = 0.65, 10
"""Seconds of timing and warm-up runs of each session; the former is what `quick` gives each."""


def ours(network: Path, size: int, threads: int, budget: str, number: int) -> Entry:
    """Compare the network with itself as a measure task would."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        timer = Timer(
            condition=Condition(threads=threads),
            shape=(3, size, size),
            budget=BUDGETS[budget],  # type: ignore[index]
            seed=number,
            folder=Path(folder),
            report=lambda _: None,
            checkpoint=lambda: None,
        )
        (group,) = timer.run(network, {}).groups
        found = {one.session: decode((Path(folder) / one.samples).read_bytes()) for one in group.sessions}
        estimate = ratio(found[CONTROL], found[BASE], seed=number)
    return {**asdict(estimate), "flags": group.flags, "seconds": time.monotonic() - began}


def rival(network: Path, size: int, threads: int, *, processes: int, number: int) -> Entry:  # noqa: ARG001
    """Compare the network with itself in blocks one after the other, in one process or one for each."""
    began = time.monotonic()
    asked = [sys.executable, __file__, "--child", str(network), str(size), str(threads), str(2 // processes)]
    told = [subprocess.run(asked, check=True, capture_output=True, text=True).stdout for _ in range(processes)]
    first, second = (np.array(times) for out in told for times in json.loads(out))
    value = float(second.mean() / first.mean())
    half = Z95 * math.hypot(*(times.std(ddof=1) / math.sqrt(len(times)) / times.mean() for times in (first, second)))
    low, high = value * math.exp(-half), value * math.exp(half)
    return {"value": value, "ci_low": low, "ci_high": high, "seconds": time.monotonic() - began}


def child(network: str, size: str, threads: str, sessions: str) -> None:
    """Time so many sessions of the network one after the other, and print their samples."""
    shape = (1, 3, int(size), int(size))
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    found = []
    for _ in range(int(sessions)):
        session = OnnxRuntimeBackend().load(
            Path(network).read_bytes(),
            shape=shape,
            threads=int(threads),
            precision="fp32",
            data=data,
            options=Options(),
        )
        for _ in range(RIVAL_WARMUP):
            session.run()
        times = []
        until = time.monotonic() + RIVAL_S
        while time.monotonic() < until:
            start = time.perf_counter_ns()
            session.run()
            times.append(time.perf_counter_ns() - start)
        found.append(times)
        session.close()
    print(json.dumps(found))


def row(label: str, entries: list[Entry], field: str = "value", ends: tuple[str, str] = ("ci_low", "ci_high")) -> str:
    """Summarise the repeats of one case by one of its estimates."""
    errors = np.abs(np.log([entry[field] for entry in entries]))
    median, high = np.percentile(errors, (50, 95))
    different = sum(not entry[ends[0]] <= 1 <= entry[ends[1]] for entry in entries)
    seconds = float(np.median([entry["seconds"] for entry in entries]))
    n = len(entries)
    return (
        f"| {label} | {share(different, n)} | {share(n - different, n)} | {median:.2%} | {high:.2%} | {seconds:.1f} s |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=Path("same_network.jsonl"), help="what was measured so far")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--quick", type=int, nargs=2, default=[400, 100], help="repeats at quick, for each network")
    parser.add_argument("--standard", type=int, default=30, help="repeats at standard, for each network")
    parser.add_argument("--rivals", type=int, default=100, help="repeats of each usual way, for each network")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(*asked.child)
        return
    record = Record(asked.state)
    lines = [
        machine(),
        "",
        "| case | called different | interval holds 1 | median error | 95th percentile | time of one |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))

    def add(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    for place, (name, size, onnx) in enumerate(networks(NETWORKS)):
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            file.write(onnx)
            file.flush()
            path = Path(file.name)
            for threads in (1, 2):
                label = f"{name}, {threads} thread(s)"
                for budget, wanted in (("quick", asked.quick[place]), ("standard", asked.standard)):
                    entries = record.repeat(
                        f"{label}, {budget}",
                        wanted,
                        lambda number: ours(path, size, threads, budget, number),  # noqa: B023
                    )
                    if not entries:
                        continue
                    add(row(f"{label}, `{budget}`, medians", entries))
                    if "low_ci_low" in entries[0]:
                        ends = ("low_ci_low", "low_ci_high")
                        add(row(f"{label}, `{budget}`, 10th percentiles", entries, "low_value", ends))
                for processes, how in ((1, "sequential blocks"), (2, "one process per model")):
                    entries = record.repeat(
                        f"{label}, {how}",
                        asked.rivals,
                        lambda number: rival(path, size, threads, processes=processes, number=number),  # noqa: B023
                    )
                    if entries:
                        add(row(f"{label}, {how}", entries))
    if asked.output is not None:
        command = "python benchmarks/same_network.py"
        asked.output.write_text(f"# A network against itself\n\n`{command}`\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
