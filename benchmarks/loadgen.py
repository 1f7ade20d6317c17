"""Our p50 and p90 beside MLPerf LoadGen's (SingleStream) and beside a plain ONNX Runtime loop, same file, same machine.

    pip install mlcommons-loadgen
    python benchmarks/loadgen.py [--rounds 10] [--seconds 10] [--output FILE]

In each round all three run once, in turned order, each in a fresh process with the same session options. LoadGen's
figures are those of its own summary (p90 there is a percentile, not its early-stopping estimate). The plain loop is
that of onnxruntime_perf_test: one run to warm up, then one after the other. Intervals are Student's over rounds.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from interleaved import machine
from repeats import networks

from layerprune.stats import t95
from workers.harness.backends.base import Options
from workers.harness.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeSession
from workers.harness.loop import Plan, choose_pace, time_block, warm_up

NETWORKS = {"cifar:resnet56": 32, "torchvision:mobilenet_v2": 224}
WAYS = ("ours", "loadgen", "plain loop")


def load(network: str, size: str, threads: str) -> OnnxRuntimeSession:
    shape = (1, 3, int(size), int(size))
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    session = OnnxRuntimeBackend().load(
        Path(network).read_bytes(), shape=shape, threads=int(threads), precision="fp32", data=data, options=Options()
    )
    assert isinstance(session, OnnxRuntimeSession)
    return session


def ours(session: OnnxRuntimeSession, seconds: float) -> list[float]:
    """Warm up and time blocks as the harness does; p50 and p90 in ns."""
    plan = Plan()
    pace = choose_pace(warm_up(session, time.perf_counter_ns, plan).typical_ns, plan)
    found, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        found.append(time_block(session.run, time.perf_counter_ns, pace))
    return list(np.percentile(np.concatenate(found), (50, 90)))


def plain_loop(session: OnnxRuntimeSession, seconds: float) -> list[float]:
    """One run to warm up, then one after the other."""
    session.run()
    times, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        start = time.perf_counter_ns()
        session.run()
        times.append(time.perf_counter_ns() - start)
    return list(np.percentile(times, (50, 90)))


def loadgen(session: OnnxRuntimeSession, seconds: float) -> list[float]:
    """MLPerf LoadGen, scenario SingleStream, as its summary says."""
    import mlperf_loadgen

    def issue(samples: Sequence[object]) -> None:
        for sample in samples:
            session.run()
            mlperf_loadgen.QuerySamplesComplete([mlperf_loadgen.QuerySampleResponse(sample.id, 0, 0)])  # type: ignore[attr-defined]

    session.run()
    settings = mlperf_loadgen.TestSettings()
    settings.scenario = mlperf_loadgen.TestScenario.SingleStream
    settings.mode = mlperf_loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = round(1000 * seconds)
    settings.min_query_count = 100
    sut = mlperf_loadgen.ConstructSUT(issue, lambda: None)
    library = mlperf_loadgen.ConstructQSL(1, 1, lambda _: None, lambda _: None)
    with tempfile.TemporaryDirectory() as folder:
        output = mlperf_loadgen.LogOutputSettings()
        output.outdir = folder
        logging = mlperf_loadgen.LogSettings()
        logging.log_output = output
        mlperf_loadgen.StartTestWithLogSettings(sut, library, settings, logging)
        summary = (Path(folder) / "mlperf_log_summary.txt").read_text()
    mlperf_loadgen.DestroyQSL(library)
    mlperf_loadgen.DestroySUT(sut)
    found = [re.search(rf"^{p}\.00 percentile latency \(ns\)\s*:\s*(\d+)", summary, re.MULTILINE) for p in (50, 90)]
    return [float(match.group(1)) for match in found if match]


def ratio(mine: list[float], others: list[float]) -> str:
    """The geometric mean of the ratios of rounds with its 95 % interval."""
    logs = np.log(np.array(mine) / np.array(others))
    half = t95(len(logs) - 1) * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    centre = float(logs.mean())
    return f"{math.exp(centre):.4f} ({math.exp(centre - half):.4f} to {math.exp(centre + half):.4f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        way, network, size, threads = asked.child
        run = {"ours": ours, "loadgen": loadgen, "plain loop": plain_loop}[way]
        print(json.dumps(run(load(network, size, threads), asked.seconds)))
        return
    lines = [
        f"{machine()}, {asked.threads} thread(s); {asked.rounds} rounds of {asked.seconds:g} s of each",
        "",
        "| network | beside | p50, ours / theirs (95 %) | p90, ours / theirs (95 %) | their p50, ms |",
        "|---|---|---|---|---|",
    ]
    for name, size, onnx in networks(NETWORKS):
        with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
            file.write(onnx)
            file.flush()
            found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
            for number in range(asked.rounds):
                for way in WAYS[:: -1 if number % 2 else 1]:
                    command = [sys.executable, __file__, "--seconds", str(asked.seconds), "--child", way, file.name]
                    command += [str(size), str(asked.threads)]
                    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                    found[way].append(json.loads(told.splitlines()[-1]))
        for way in WAYS[1:]:
            p50, p90 = (ratio([one[p] for one in found["ours"]], [one[p] for one in found[way]]) for p in range(2))
            theirs = float(np.median([one[0] for one in found[way]])) / 1e6
            lines.append(f"| {name} | {way} | {p50} | {p90} | {theirs:.3f} |")
    print("\n".join(lines))
    if asked.output is not None:
        command = f"python benchmarks/loadgen.py --rounds {asked.rounds} --seconds {asked.seconds:g}"
        asked.output.write_text(f"# Beside MLPerf LoadGen\n\n`{command}`\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
