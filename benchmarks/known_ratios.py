"""How often is a difference of known size found, and how long does that take?

    python benchmarks/known_ratios.py [--state FILE] [--output FILE] [--repeats 40 20 20] [--threads 1]

Two sessions of one network are timed by the harness's loop in the same processes; a sample of the one is 50 inferences,
of the other 51 (then 100 and 105, 50 and 55), so that the true ratio is 1.02 (1.05, 1.10) whatever the machine does.
After 1, 5, 8 and 12 processes the interval is looked at as a measurement would, by `layerprune.stats.ratio`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from interleaved import machine
from repeats import Entry, Record, networks, share

from layerprune.samples import Block, ProcessSamples, SampleSet
from layerprune.stats import ratio
from workers.harness.backends.base import Options, Session
from workers.harness.backends.onnxruntime import OnnxRuntimeBackend
from workers.harness.loop import Plan, choose_pace, time_interleaved, warm_up

NETWORK = {"cifar:resnet20": 32}
RATIOS = ((51, 50), (105, 100), (55, 50))
LOOKS = (1, 5, 8, 12)
PLAN = Plan(cycles=10, block_ms=50.0, warmup_min_s=0.5, warmup_later_min_s=0.3, warmup_cap_s=5.0)


class Repeated:
    """A session whose run is so many inferences of another."""

    parts: tuple[str, ...] = ()

    def __init__(self, session: Session, times: int) -> None:
        self._session, self._times = session, range(times)
        self.facts: dict[str, object] = {}

    def run(self) -> None:
        for _ in self._times:
            self._session.run()

    def parts_ns(self) -> tuple[int, ...]:
        return ()

    def infer(self, batch: np.ndarray) -> np.ndarray:
        return self._session.infer(batch)

    def close(self) -> None:
        self._session.close()


def child(network: str, size: str, threads: str, longer: str, shorter: str, seed: str) -> None:
    """Time both sessions in this process, and print the samples of each block."""
    shape = (1, 3, int(size), int(size))
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    backend, onnx = OnnxRuntimeBackend(), Path(network).read_bytes()
    sessions: dict[str, Session] = {
        name: Repeated(
            backend.load(onnx, shape=shape, threads=int(threads), precision="fp32", data=data, options=Options()), runs
        )
        for name, runs in (("longer", int(longer)), ("shorter", int(shorter)))
    }
    paces = {
        name: choose_pace(warm_up(session, backend.clock, PLAN, is_first=name == "longer").typical_ns, PLAN)
        for name, session in sessions.items()
    }
    blocks = time_interleaved(
        sessions, paces, backend.clock, cycles=PLAN.cycles, seed=int(seed), between_cycles=lambda _: None
    )
    print(json.dumps([[one.session, one.cycle, one.position, one.samples_ns.tolist()] for one in blocks]))


def process(network: Path, size: int, threads: int, runs: tuple[int, int], seed: int) -> dict[str, ProcessSamples]:
    """Run one process and read what it timed."""
    asked = [sys.executable, __file__, "--child", str(network), str(size), str(threads), *map(str, runs), str(seed)]
    told = json.loads(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
    return {
        name: ProcessSamples(
            tuple(Block(cycle, place, np.array(times)) for of, cycle, place, times in told if of == name), 50
        )
        for name in ("longer", "shorter")
    }


def compare(network: Path, size: int, threads: int, runs: tuple[int, int], number: int) -> Entry:
    """One comparison: what the interval says after each look, and the seconds until then."""
    began, found, looks = time.monotonic(), list[dict[str, ProcessSamples]](), {}
    for count in range(1, max(LOOKS) + 1):
        found.append(process(network, size, threads, runs, 1000 * number + count))
        if count in LOOKS:
            longer, shorter = (SampleSet(tuple(one[name] for one in found)) for name in ("longer", "shorter"))
            estimate = ratio(longer, shorter, seed=number)
            seconds = time.monotonic() - began
            looks[str(count)] = [estimate.value, estimate.ci_low, estimate.ci_high, seconds]
    return {"looks": looks}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=Path("known_ratios.jsonl"), help="what was measured so far")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--repeats", type=int, nargs=3, default=[40, 20, 20], help="for 1.02, 1.05 and 1.10")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", nargs=6, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(*asked.child)
        return
    record = Record(asked.state)
    ((name, size, onnx),) = networks(NETWORK)
    lines = [
        f"{machine()}, {asked.threads} thread(s), {name} at {size} pixels",
        "",
        "| true ratio | processes | found | interval holds the truth | median of the ratios | seconds |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(onnx)
        file.flush()
        for runs, wanted in zip(RATIOS, asked.repeats, strict=True):
            truth = runs[0] / runs[1]
            entries = record.repeat(
                f"{truth:.2f}, {asked.threads} thread(s)",
                wanted,
                lambda number: compare(Path(file.name), size, asked.threads, runs, number),  # noqa: B023
            )
            for look in map(str, LOOKS):
                values, lows, highs, seconds = np.array([entry["looks"][look] for entry in entries]).T
                found = int(np.sum(lows > 1))
                held = int(np.sum((lows <= truth) & (truth <= highs)))
                lines.append(
                    f"| {truth:.2f} | {look} | {share(found, len(entries))} | {share(held, len(entries))} "
                    f"| {np.median(values):.4f} | {np.median(seconds):.1f} |"
                )
    print("\n".join(lines))
    if asked.output is not None:
        command = f"python benchmarks/known_ratios.py --threads {asked.threads}"
        asked.output.write_text(f"# Differences of known size\n\n`{command}`\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
