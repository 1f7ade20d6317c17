"""How often two successive windows of a session that has long been steady pass a rule for the end of warm-up.

    python benchmarks/steadiness.py [--seconds 5]

A good rule passes nearly always here. "pyperf" is its calibration rule on windows of 20 runs: no outlier first, means
within -50 to 10 %, spread within 10 %, quartiles within 5 %. "ours" is `workers.harness.loop.is_steady` on windows of
at least 20 runs and 50 ms.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from layerprune import models
from layerprune.export import export_onnx
from workers.harness.backends.base import Options
from workers.harness.backends.onnxruntime import OnnxRuntimeBackend
from workers.harness.loop import WINDOW_NS, WINDOW_RUNS, is_steady

NETWORKS = (("cifar:resnet20", 16), ("cifar:resnet20", 32), ("cifar:resnet56", 32))


def pyperf_rule(first: Sequence[int], second: Sequence[int]) -> bool:
    """Compare two windows as pyperf does when it calibrates warm-up."""
    low, high = np.percentile((first, second), 25, axis=1), np.percentile((first, second), 75, axis=1)
    mean = np.mean((first, second), axis=1)
    spread = [np.median(np.abs(np.asarray(window) - np.median(window))) for window in (first, second)]
    return bool(
        second[0] <= high[0] + 1.5 * (high[0] - low[0])
        and -0.5 <= (mean[0] - mean[1]) / mean[1] <= 0.1
        and abs(spread[0] - spread[1]) <= 0.1 * spread[1]
        and abs(low[0] - low[1]) <= 0.05 * low[1]
        and abs(high[0] - high[1]) <= 0.05 * high[1]
    )


def passing(times: Sequence[int], size: int, rule: Callable[[Sequence[int], Sequence[int]], bool]) -> str:
    """Say which share of successive windows of `size` runs passes."""
    starts = range(0, len(times) - 2 * size, size)
    passed = sum(rule(times[i : i + size], times[i + size : i + 2 * size]) for i in starts)
    return f"{passed} of {len(starts)} ({passed / len(starts):.0%})"


def run(seconds: float) -> None:
    """Print one row per network."""
    print(f"{platform.machine()}, Python {platform.python_version()}, one thread, after 2 s of warm-up\n")
    print("| network | run | pyperf, 20 runs | ours, 50 ms |\n|---|---|---|---|")
    for name, size in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            export_onnx(models.build(name, classes=10), torch.randn(2, 3, size, size), path)
            network = path.read_bytes()
        shape = (1, 3, size, size)
        data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        session = OnnxRuntimeBackend().load(
            network, shape=shape, threads=1, precision="fp32", data=data, options=Options()
        )
        times: list[int] = []
        began = time.monotonic()
        while (elapsed_s := time.monotonic() - began) < 2 + seconds:
            start = time.perf_counter_ns()
            session.run()
            if elapsed_s > 2:
                times.append(time.perf_counter_ns() - start)
        session.close()
        typical_ns = float(np.median(times))
        window = max(WINDOW_RUNS, int(np.ceil(WINDOW_NS / typical_ns)))
        shares = passing(times, WINDOW_RUNS, pyperf_rule), passing(times, window, is_steady)
        print(f"| {name}, {size} px | {typical_ns / 1e6:.3f} ms | {shares[0]} | {shares[1]} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    run(parser.parse_args().seconds)
