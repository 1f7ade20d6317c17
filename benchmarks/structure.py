"""What finding layers and applying a plan take, with torch-pruning's graph and pruning beside them.

    python benchmarks/structure.py [--network resnet50] [--rounds 7] [--output benchmarks/results/structure.md]

One process, one thread, in turn: every round does each step once on a fresh copy, the table shows medians. The plan
removes half of the layers; torch-pruning takes half of the channels of every convolution.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
import torch_pruning
import torchvision
from torch import Tensor, nn

from layerprune.structure.architecture import architecture_hash
from layerprune.structure.layers import find_layers
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace

T = TypeVar("T")
STEPS = (
    "trace",
    "find layers",
    "trace and find layers",
    "apply a plan",
    "torch-pruning: build the graph",
    "torch-pruning: prune",
)


def run(network: str, size: int, rounds: int) -> str:
    """Time every step and give the table."""
    model = torchvision.models.get_model(network, weights=None).eval()
    images = torch.rand(1, 3, size, size)
    times: dict[str, list[float]] = {step: [] for step in STEPS}
    for number in range(rounds + 1):
        round_ = _round(model, images)
        if number:  # the first one imports and allocates
            for step, seconds in round_.items():
                times[step].append(seconds)
    rows = [
        f"| {step} | {statistics.median(values):.3f} | {min(values):.3f} to {max(values):.3f} |"
        for step, values in times.items()
    ]
    head = (
        f"{network} at {size} x {size}, {platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, torch-pruning {torch_pruning.__version__}, one thread, {rounds} rounds"
    )
    return "\n".join([head, "", "| step | median, s | range, s |", "|---|---|---|", *rows, ""])


def _round(model: nn.Module, images: Tensor) -> dict[str, float]:
    seconds: dict[str, float] = {}
    mine, other = copy.deepcopy(model), copy.deepcopy(model)
    graph = _timed(seconds, "trace", lambda: trace(mine, images))
    layers = _timed(seconds, "find layers", lambda: find_layers(graph))
    seconds["trace and find layers"] = seconds["trace"] + seconds["find layers"]
    half = [layer.name for layer in layers if layer.default][::2]
    plan = Plan("layer", "benchmark", architecture_hash(graph), remove=tuple(half))
    _timed(seconds, "apply a plan", lambda: apply_plan_(graph, plan, images))
    pruner = _timed(seconds, "torch-pruning: build the graph", lambda: _pruner(other, images))
    _timed(seconds, "torch-pruning: prune", pruner.step)
    return seconds


def _pruner(model: nn.Module, images: Tensor) -> torch_pruning.pruner.BasePruner:
    answer = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    importance = torch_pruning.importance.MagnitudeImportance(p=1)
    return torch_pruning.pruner.BasePruner(
        model, images, importance=importance, pruning_ratio=0.5, ignored_layers=[answer]
    )


def _timed(seconds: dict[str, float], step: str, work: Callable[[], T]) -> T:
    start = time.perf_counter()
    result = work()
    seconds[step] = time.perf_counter() - start
    return result


def main() -> None:
    """Parse the command line, time, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = run(options.network, options.size, options.rounds)
    print(table)
    if options.output is not None:
        command = " ".join(["python benchmarks/structure.py", *sys.argv[1:]])
        options.output.write_text(f"# Finding layers and applying a plan\n\n`{command}`\n\n{table}")


if __name__ == "__main__":
    main()
