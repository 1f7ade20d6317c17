"""How much latency falls for each part of the multiplications that goes, by family, untrained.

    python benchmarks/latency_per_macs.py [--quick] [--state FILE] [--output FILE]

For each network and each share of its multiply-accumulates, the plan of each family nearest to it by weight_l1 (hybrids
remove at least as much), timed interleaved with the network itself. 1.0 in the last column means that latency fell as
far as the multiplications did; its interval is that of the latency. Finished rows are kept in the state file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from interleaved import Ledger, Make, Place, machine, weight_scores
from torch import fx

from layerprune import models
from layerprune.api.pruning import FilterOptions, PruningSpec
from layerprune.api.tasks import Candidate
from layerprune.planning.candidates import by_amounts, enumerate_candidates
from layerprune.planning.edits import Editor
from layerprune.structure.layers import candidates_of, find_layers
from layerprune.structure.macs import count
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace
from workers.harness.loop import Plan as Timing
from workers.tasks.timing import Budget

NETWORKS = {
    "cifar:resnet56": 32,
    "torchvision:vgg19_bn": 32,
    "torchvision:resnet50": 224,
    "torchvision:mobilenet_v2": 224,
    "timm:deit_tiny_patch16_224": 224,
}
QUICK = {"cifar:resnet20": 32, "torchvision:mobilenet_v2": 64}
AMOUNTS = [0.15, 0.3, 0.5]
ALIGNMENT = 16
LONG = Budget(processes=5, plan=Timing(cycles=8, block_ms=30.0, warmup_later_min_s=0.3, warmup_cap_s=5.0))
SHORT = Budget(
    processes=1, plan=Timing(cycles=3, block_ms=10.0, warmup_min_s=0.2, warmup_later_min_s=0.1, warmup_cap_s=0.5)
)


def base_of(name: str, size: int) -> fx.GraphModule:
    """The untrained network, traced."""
    return trace(models.build(name, classes=10, seed=1).eval(), torch.rand(2, 3, size, size))


def candidates_by_share(graph: fx.GraphModule, size: int) -> list[Candidate]:
    """The plans of every family nearest to each share, as a job with ``amounts`` lists them."""
    example = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    spec = PruningSpec(
        criteria=["weight_l1"],
        methods=["layer", "filter", "hybrid"],
        amounts=AMOUNTS,
        filters=FilterOptions(alignments=[1, ALIGNMENT]),
    )
    layers = candidates_of(find_layers(graph), spec.layers)
    scores = weight_scores(graph, layers, example)
    found = enumerate_candidates(graph, example, scores.layers, scores.filters, spec)
    editor = Editor(graph, example, layers, scores.filters, spec)
    hybrids = by_amounts(editor, editor.edits(), spec, base_macs=count(graph, example))
    return [*found.candidates, *hybrids]


def pruned(name: str, size: int, candidate: Candidate) -> fx.GraphModule:
    return apply_plan_(base_of(name, size), Plan.from_dict(candidate.plan), torch.rand(2, 3, size, size))


def rows(name: str, size: int, ledger: Ledger, *, budget: Budget) -> Iterator[str]:
    """Time everything on one network, with 1 and with 2 threads."""
    candidates = candidates_by_share(base_of(name, size), size)
    makes: dict[str, Make] = {one.architecture: partial(pruned, name, size, one) for one in candidates}
    for threads in (1, 2):
        timed = ledger.ratios(
            Place(name, size, threads), partial(base_of, name, size), makes, purpose="untrained", budget=budget
        )
        for one in candidates:
            found = timed[one.architecture]
            cut, low, high = 1 - found.value, 1 - found.ci_high, 1 - found.ci_low
            yield (
                f"| {name} | {threads} | {one.family} | {one.label} | {one.amount:.1%} | {cut:.1%} ({low:.1%} to "
                f"{high:.1%}) | {cut / one.amount:.2f} ({low / one.amount:.2f} to {high / one.amount:.2f}) |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small networks and short blocks, to see that it runs")
    parser.add_argument("--state", type=Path, default=Path("latency_per_macs.jsonl"), help="what was timed so far")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    ledger, budget = Ledger(asked.state), SHORT if asked.quick else LONG
    lines = [
        f"{machine()}; {budget.processes} processes of {budget.plan.cycles} mirrored cycles",
        "",
        "| network | threads | family | plan | MACs cut | latency cut (95 %) | latency cut / MACs cut |",
        "|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    for name, size in (QUICK if asked.quick else NETWORKS).items():
        for row in rows(name, size, ledger, budget=budget):
            print(row, flush=True)
            lines.append(row)
    if asked.output is not None:
        head = "# Latency cut per multiplication cut\n\n`python benchmarks/latency_per_macs.py`\n\n"
        asked.output.write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
