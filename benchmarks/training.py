"""Compare the library's fine-tuning loop with a bare PyTorch loop in float32.

For each network, three loops train the same number of steps in alternating blocks, in random order within each cycle:
the bare loop (forward, cross entropy, backward, SGD with Nesterov momentum, on prepared float32 batches in memory),
the library without automatic choices (float32; images kept as bytes, augmented and normalised batch by batch), and
the library in the precision that its own trial chose here. Throughputs are medians over the blocks. Peak memory is that
of a fresh process that runs one loop alone, less what it holds before the first step; on a GPU torch's own peak.

    .venv/bin/python benchmarks/training.py [--blocks 15]   # about 25 minutes on two cores
    .venv/bin/python benchmarks/training.py --quick    # a smoke run, 2 minutes
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from layerprune import models
from layerprune.api.network import Preprocess
from layerprune.api.training import TrainingSpec
from layerprune.data.feed import MemoryFeed
from layerprune.training.precision import Precision
from layerprune.training.recipe import Recipe, make_recipe
from layerprune.training.step import Step
from layerprune.training.trial import choose_precision, lay_out_

CASES = (("cifar:resnet20", 32, 64), ("cifar:resnet56", 32, 64), ("torchvision:resnet18", 112, 32))
LOOPS = ("bare", "float32", "automatic")
CLASSES = 10


@dataclass(frozen=True)
class Case:
    """A network, its input and how it is trained; every loop gets its own copy with the same weights."""

    name: str
    size: int
    batch_size: int
    device: torch.device
    steps: int

    def model(self) -> nn.Module:
        return models.build(self.name, classes=CLASSES, seed=0).to(self.device).train()

    def feed(self) -> MemoryFeed:
        generator = torch.Generator().manual_seed(0)
        count = self.batch_size * self.steps
        pixels = torch.randint(0, 256, (count, 3, self.size, self.size), dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, CLASSES, (count,), generator=generator)
        return MemoryFeed(pixels, labels, Preprocess(size=self.size, mean=[0.5] * 3, std=[0.25] * 3))

    def recipe(self, precision: Precision) -> Recipe:
        spec = TrainingSpec(batch_size=self.batch_size, learning_rate=0.01, distillation=0)
        return make_recipe(self.model(), spec, flip=True, precision=precision)

    def loop(self, name: str, precision: Precision) -> Callable[[], None]:
        """Return what trains one block of steps."""
        return self._bare() if name == "bare" else self._library(precision)

    def _bare(self) -> Callable[[], None]:
        model = self.model()
        batches = list(self.feed().batches(self.batch_size, device=self.device))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)

        def block() -> None:
            for images, labels in batches:
                loss = F.cross_entropy(model(images), labels)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                loss.item()

        return block

    def _library(self, precision: Precision) -> Callable[[], None]:
        model, feed, recipe = self.model(), self.feed(), self.recipe(precision)
        lay_out_(precision, model)
        step, order = Step(model, recipe), torch.Generator().manual_seed(0)

        def block() -> None:
            for images, labels in feed.epoch(self.batch_size, generator=order, device=self.device, flip=recipe.flip):
                step(images, labels, learning_rate=recipe.learning_rate).item()

        return block


def throughputs(case: Case, precision: Precision, *, blocks: int) -> dict[str, list[float]]:
    """Images per second of each loop, block by block."""
    loops = {name: case.loop(name, precision if name == "automatic" else plain(case)) for name in LOOPS}
    for loop in loops.values():
        loop()
    found: dict[str, list[float]] = {name: [] for name in LOOPS}
    for name in _orders(blocks):
        started = time.perf_counter()
        loops[name]()
        if case.device.type == "cuda":
            torch.cuda.synchronize()
        found[name].append(case.batch_size * case.steps / (time.perf_counter() - started))
    return found


def _orders(blocks: int) -> Iterator[str]:
    shuffled = random.Random(0)
    for _ in range(blocks):
        yield from shuffled.sample(LOOPS, len(LOOPS))


def plain(case: Case) -> Precision:
    return Precision(device=case.device.type)


def peak_bytes(case: Case, name: str, precision: Precision) -> int:
    """Peak memory of one loop in a process of its own."""
    asked = {
        "name": case.name,
        "size": case.size,
        "batch_size": case.batch_size,
        "steps": 3,
        "loop": name,
        "precision": [precision.dtype, precision.channels_last, precision.device],
        "threads": torch.get_num_threads(),
    }
    told = subprocess.run(
        [sys.executable, __file__, "--memory", json.dumps(asked)], check=True, capture_output=True, text=True
    )
    return int(told.stdout)


def memory_of(asked: dict[str, object]) -> int:
    """Run one loop here and say by how much memory rose at most."""
    torch.set_num_threads(int(str(asked["threads"])))
    precision = Precision(*asked["precision"])  # type: ignore[misc]
    device = torch.device(precision.device)
    case = Case(str(asked["name"]), int(str(asked["size"])), int(str(asked["batch_size"])), device, 3)
    loop = case.loop(str(asked["loop"]), precision)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        loop()
        return torch.cuda.max_memory_allocated()
    before = _status_bytes("VmRSS")
    loop()
    return _status_bytes("VmHWM") - before


def _status_bytes(field: str) -> int:
    # Not getrusage: its peak counts the parent's, from before this process became another program.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few and short blocks, only to see that it runs")
    parser.add_argument("--blocks", type=int, default=15, help="blocks of 8 steps of each loop")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(memory_of(json.loads(options.memory)))
        return
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    blocks, steps = (2, 2) if options.quick else (options.blocks, 8)
    where = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    print(f"{where}, torch {torch.__version__}, {options.threads} threads; {blocks} blocks of {steps} steps per loop\n")
    print("| network | input | batch | loop | images/s | / bare | quartiles of blocks | peak memory, MiB | / bare |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, size, batch_size in CASES:
        case = Case(name, size, batch_size, device, steps)
        chosen = choose_precision(case.model(), case.feed(), case.recipe(plain(case)))
        found = throughputs(case, chosen, blocks=blocks)
        memory = {
            loop: peak_bytes(replace(case, steps=3), loop, chosen if loop == "automatic" else plain(case))
            for loop in LOOPS
        }
        bare = statistics.median(found["bare"])
        for loop in LOOPS:
            median = statistics.median(found[loop])
            low, _, high = statistics.quantiles(found[loop], n=4)
            label = f"automatic: {chosen.label}" if loop == "automatic" else loop
            print(
                f"| {name} | {size} | {batch_size} | {label} | {median:.1f} | {median / bare:.2f} "
                f"| {low:.1f} to {high:.1f} | {memory[loop] / 2**20:.0f} | {memory[loop] / memory['bare']:.2f} |",
                flush=True,
            )
        print(f"<!-- trial, ms per step: {chosen.trial_ms} -->", flush=True)


if __name__ == "__main__":
    main()
