"""What the measuring loop adds to an inference: our loop against bare ONNX Runtime loops in the same process.

    python benchmarks/measuring_loop.py [--blocks 40] [--size 32] [--threads 1]

Each loop has a session of its own with the same options. Blocks alternate in random mirrored order, so that a drift of
the machine falls on all. A bare loop calls either `run_with_iobinding`, as ours does, or plain `run`, which costs some
microseconds more for handing over arrays. Each row is the ratio of medians, ours to bare, with its 95 % interval.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from layerprune import models
from layerprune.export import export_onnx
from layerprune.samples import Block, ProcessSamples, SampleSet
from layerprune.stats import median_ns, ratio
from workers.harness.backends.base import Options
from workers.harness.backends.onnxruntime import PROVIDER, OnnxRuntimeBackend, session_options
from workers.harness.host import Host
from workers.harness.loop import Plan, choose_pace, mirrored_orders, time_block, warm_up

NAMES = ("cifar:resnet20", "cifar:resnet56")
BARE = ("run_with_iobinding", "run")


def bare_loop(run: Callable[..., object], arguments: tuple[object, ...], runs: int) -> np.ndarray:
    """Time inferences the way one would by hand."""
    times = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        run(*arguments)
        times.append(time.perf_counter_ns() - start)
    return np.array(times)


def time_all(network: bytes, *, size: int, threads: int, blocks: int) -> dict[str, SampleSet]:
    """Time our loop and the bare ones in alternating blocks, two of each per cycle."""
    images = np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)
    backend = OnnxRuntimeBackend()
    ours = backend.load(network, shape=images.shape, threads=threads, precision="fp32", data=images, options=Options())
    plain, bound = (
        onnxruntime.InferenceSession(network, session_options(1, threads), providers=[PROVIDER]) for _ in BARE
    )
    binding = bound.io_binding()
    binding.bind_cpu_input("input", images)
    binding.bind_output("logits")
    plan = Plan()
    pace = choose_pace(warm_up(ours, backend.clock, plan).typical_ns, plan)
    loops: dict[str, Callable[[], np.ndarray]] = {
        "ours": lambda: time_block(ours.run, backend.clock, pace),
        "run": lambda: bare_loop(plain.run, (None, {"input": images}), pace.samples),
        "run_with_iobinding": lambda: bare_loop(bound.run_with_iobinding, (binding,), pace.samples),
    }
    for loop in loops.values():
        loop()
    timed: dict[str, list[Block]] = {name: [] for name in loops}
    for cycle, position, name in mirrored_orders(list(loops), cycles=blocks // 2, seed=0):
        timed[name].append(Block(cycle, position, loops[name]()))
    return {name: SampleSet((ProcessSamples(tuple(found), warmup_runs=50),)) for name, found in timed.items()}


def export(name: str, size: int) -> bytes:
    """Return an untrained network as ONNX."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(models.build(name, classes=10).eval(), torch.zeros(1, 3, size, size), path)
        return path.read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=40, help="blocks of each loop, at least 30")
    parser.add_argument("--size", type=int, default=32, help="height and width of the input")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    host, blocks = Host(), max(30, asked.blocks)
    print(f"{host.cpu_model()}, {host.cpu_count()} processors, {host.operating_system()},")
    print(f"Python {platform.python_version()}, ONNX Runtime {onnxruntime.__version__}, load {host.load_average()};")
    print(
        f"{blocks} blocks of about 50 ms of each loop, batch 1, {asked.size}x{asked.size}, threads: {asked.threads}\n"
    )
    print("| network | bare loop calls | bare p50, us | ours p50, us | ours / bare | 95 % interval | samples of each |")
    print("|---|---|---|---|---|---|---|")
    for name in NAMES:
        found = time_all(export(name, asked.size), size=asked.size, threads=asked.threads, blocks=blocks)
        ours = found["ours"]
        for bare in BARE:
            compared = ratio(ours, found[bare], seed=0)
            print(
                f"| {name} | `{bare}` | {median_ns(found[bare]) / 1e3:.1f} | {median_ns(ours) / 1e3:.1f} "
                f"| {compared.value:.4f} | {compared.ci_low:.4f} to {compared.ci_high:.4f} | {len(ours.all_ns())} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
