"""What scoring costs, against the passes that it cannot do without.

    python benchmarks/scoring.py [--images 256] [--slow-images 64] [--rounds 5] [--size 224] [--model NAME]

Every row times two ways in turns and gives the median of the ratios of the rounds with their range:

* all criteria that one pass serves together (no bypassed layers, no feature-map rank), against one plain forward and
  backward pass over the same images that leaves the gradient of every weight;
* each criterion that bypasses layers, against leaving one layer out after the other: a network without it, run from its
  first operation on;
* feature-map rank, against one plain forward pass: it is as slow as the singular values of the maps.

The last two take minutes per round, so they get the first `--slow-images` images. The plain passes go through the
network itself, in eval mode, in the batches named; ours through its traced graph, in the groups that scoring chooses.
Images and weights are random: they change no time.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerprune import models
from layerprune.criteria import list_criteria
from layerprune.criteria.base import ScoringContext
from layerprune.criteria.observation import score_all
from layerprune.structure.layers import find_layers
from layerprune.structure.surgery import remove_layers_
from layerprune.structure.trace import trace
from workers.harness.host import Host

CLASSES = 10
BYPASSING = ("accuracy_drop", "loss_increase", "cka")
ONE_PASS = [
    info.name
    for info in list_criteria()
    if info.name not in (*BYPASSING, "feature_map_rank", "ensemble")  # an ensemble only adds up the others
]
Run = Callable[[], object]


def forward_and_backward(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
    """One plain pass over the images; gradients of all weights are added up, as in training."""
    model.zero_grad()
    for images, labels in batches:
        F.cross_entropy(model(images), labels, reduction="sum").backward()


def forward(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
    with torch.no_grad():
        for images, _ in batches:
            model(images)


def leave_one_out(context: ScoringContext) -> None:
    """Run the whole network, and the whole network without each layer, over all images."""
    forward(context.graph, context.batches)
    for layer in context.layers:
        without = copy.deepcopy(context.graph)
        remove_layers_(without, [layer])
        forward(without, context.batches)


def compare(plain: Run, ours: Mapping[str, Run], rounds: int) -> Iterator[tuple[str, list[float], list[float]]]:
    """Seconds of each of ours and of the plain way, a round running all once, in turned order every other time."""
    runs = {"": plain, **ours}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name in list(runs)[:: -1 if number % 2 else 1]:
            start = time.perf_counter()
            runs[name]()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    for name in ours:
        yield name, times[name], times[""]


def row(label: str, against: str, ours: list[float], plain: list[float]) -> str:
    ratios = sorted(a / b for a, b in zip(ours, plain, strict=True))
    middle = statistics.median(ratios)
    seconds = f"{statistics.median(ours):.1f} s | {statistics.median(plain):.1f} s"
    return f"| {label} | {against} | {seconds} | {middle:.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument(
        "--slow-images", type=int, default=64, help="images of the rows that bypass layers or rank maps"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the one-pass row; the slow rows get 3 at most")
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    parser.add_argument("--batch", type=int, default=16, help="images in a batch of the plain passes")
    parser.add_argument("--model", default="torchvision:resnet50")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="write the table there too")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.randn(asked.images, 3, asked.size, asked.size)
    labels = torch.arange(asked.images) % CLASSES
    batches = [
        (part.to(device), wanted.to(device))
        for part, wanted in zip(images.split(asked.batch), labels.split(asked.batch), strict=True)
    ]
    model = models.build(asked.model, classes=CLASSES).eval().to(device)
    graph = trace(model, batches[0][0][:2])
    layers = [layer for layer in find_layers(graph) if layer.default]
    few = batches[: max(1, asked.slow_images // asked.batch)]
    context, slow_context = (ScoringContext(graph, layers, part, CLASSES, seed=0) for part in (batches, few))

    def score(*names: str) -> Run:
        return lambda: score_all(names, slow_context)

    host = Host()
    lines = [
        f"{host.cpu_model()}, {device}, {asked.threads} threads, {host.operating_system()}, Python "
        f"{platform.python_version()}, PyTorch {torch.__version__}, load {host.load_average()};",
        f"{asked.model} with {CLASSES} classes, {len(layers)} removable layers, {asked.images} images of {asked.size}x"
        f"{asked.size} ({len(few) * asked.batch} after the first row), plain passes in batches of {asked.batch}.",
        "",
        "| ours | against | ours takes | that takes | median ratio | range |",
        "|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    score_all(["gate_taylor"], ScoringContext(graph, layers, batches[:1], CLASSES, seed=0))  # warm up
    slow = min(asked.rounds, 3)
    together = ", ".join(BYPASSING)
    comparisons: list[tuple[str, Run, dict[str, Run], int]] = [
        (
            "one forward and backward pass",
            lambda: forward_and_backward(model, batches),
            {", ".join(ONE_PASS): lambda: score_all(ONE_PASS, context)},
            asked.rounds,
        ),
        (
            "leaving one out",
            lambda: leave_one_out(slow_context),
            {**{name: score(name) for name in BYPASSING}, together: score(*BYPASSING)},
            slow,
        ),
        ("one forward pass", lambda: forward(model, few), {"feature_map_rank": score("feature_map_rank")}, slow),
    ]
    for against, plain, ours, rounds in comparisons:
        for label, times, plain_times in compare(plain, ours, rounds):
            lines.append(row(label, against, times, plain_times))
            print(lines[-1], flush=True)
    if asked.output:
        options = f"--images {asked.images} --slow-images {asked.slow_images} --rounds {asked.rounds} "
        options += f"--size {asked.size} --threads {asked.threads}"
        head = f"# What scoring costs\n\n    .venv/bin/python benchmarks/scoring.py {options}\n\n"
        asked.output.write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
