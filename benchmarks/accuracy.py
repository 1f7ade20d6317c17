"""Accuracy at equal measured latency: layers, filters, hybrids, small networks by hand, as the service compares them.

    python benchmarks/accuracy.py --data-root DIR --folder STATE [--images 10000] [--epochs 6] [--seeds 0 1 2]

DIR holds CIFAR-10 in a way that docs/data.md names (for instance parquet files in DIR/cifar10). Everything is one job
of the service: ResNet-20 is trained, pruned towards three targets by every family, fine-tuned with equal epochs, and
measured. Started again with the same STATE folder, it goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path

from layerprune.api.client import Client
from layerprune.api.comparison import Comparison, DeviceComparison
from layerprune.api.dataset import DatasetSpec
from layerprune.api.jobs import JobRequest, JobView, MeasureSpec
from layerprune.api.network import ModelSpec, RivalSpec
from layerprune.api.pruning import FilterOptions, PruningSpec, TargetLists
from layerprune.api.training import TrainingSpec
from layerprune.cli.stack import DEVICE, Stack
from layerprune.cli.watch import is_measuring

RIVALS = [
    RivalSpec(name="cifar:mobilenet_v2", args={"width_mult": 0.25}),
    RivalSpec(name="cifar:shufflenet_v2", args={"width": 0.5}),
    RivalSpec(name="cifar:mnasnet", args={"alpha": 0.35}),
]


def request(options: argparse.Namespace) -> JobRequest:
    """What is asked of the service."""
    return JobRequest(
        model=ModelSpec(name=options.model),
        dataset=DatasetSpec(name="cifar10", max_train_images=options.images),
        rivals=RIVALS,
        pruning=PruningSpec(
            methods=["layer", "filter", "hybrid"],
            criteria=options.criteria,
            targets=TargetLists(latency_ratios=options.ratios),
            filters=FilterOptions(alignments=[1, 8, 16]),
            max_trainings=options.trainings * len(options.seeds),
        ),
        training=TrainingSpec(epochs=options.epochs, base_epochs=options.base_epochs, seeds=options.seeds),
        measure=MeasureSpec(devices=[DEVICE], budget="standard"),
    )


def run(options: argparse.Namespace) -> None:
    """Run the job to its end, or go on with the one that was begun, and print the tables."""
    began = time.monotonic()
    with (
        Stack(options.folder, "127.0.0.1", 0, say=print, data_roots=[options.data_root]) as stack,
        stack.client() as client,
    ):
        job = _finished(stack, client, client.submit(request(options), idempotency_key="accuracy").id)
        if job.state != "done":
            raise SystemExit(f"the job ended as {job.state}: {job.message}")
        comparison = client.comparison(job.id)
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"{time.strftime('%Y-%m-%d')}; this run took {(time.monotonic() - began) / 60:.0f} min.")
    print(
        f"{options.model}, CIFAR-10's first {options.images} training images, base {options.base_epochs} epochs, ",
        end="",
    )
    print(f"variants {options.epochs} epochs, seeds {', '.join(map(str, options.seeds))}.")
    for device in comparison.devices:
        _print(comparison, device)


def _finished(stack: Stack, client: Client, job_id: str) -> JobView:
    said = ""
    for job in client.follow(job_id, wait_s=20):
        stack.check()
        doing = next((task.title for task in job.tasks if task.state == "leased"), job.state)
        if doing != said and not is_measuring(job):
            said = doing
            print(f"{job.progress:4.0%}  {doing}", flush=True)
    return job


def _print(comparison: Comparison, device: DeviceComparison) -> None:
    base = device.base_accuracy
    print(f"\n{device.runtime}, {device.threads} thread(s), batch {device.batch_size}; ", end="")
    print(f"base {device.base_p50_ns / 1e6:.3f} ms, {base.correct / base.n:.2%}.\n")
    print("| target | family | plan | latency ratio (95 %) | test accuracy |\n|---|---|---|---|---|")
    for target in device.targets:
        for one in target.contenders:
            ratio = f"{one.ratio.value:.3f} ({one.ratio.ci_low:.3f} to {one.ratio.ci_high:.3f})"
            accuracy = one.accuracy.correct / one.accuracy.n
            print(f"| {target.target} | {one.family} | {one.label} | {ratio} | {accuracy:.2%} |")
    print("\n| target | at equal measured latency | difference in accuracy (95 %) | verdict |\n|---|---|---|---|")
    for target in device.targets:
        for duel in target.duels:
            equal = duel.at_equal_latency
            if equal is None:
                continue
            how = " (interpolated)" if equal.interpolated else ""
            pair = f"{duel.first.family} against {duel.second.family}, at {equal.ratio:.3f}{how}"
            points = f"{100 * equal.accuracy_difference:+.2f} ({100 * equal.ci_low:+.2f} to {100 * equal.ci_high:+.2f})"
            print(f"| {target.target} | {pair} | {points} points | {equal.verdict} |")
    print(f"\n{device.summary}\n")
    for line in [*(front.sentence for front in device.fronts), *device.defects, *comparison.notes]:
        print(f"- {line}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--model", default="cifar:resnet20")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--base-epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.75, 0.55, 0.4])
    parser.add_argument("--criteria", nargs="+", default=["weight_l1", "weight_taylor", "loss_increase"])
    parser.add_argument("--trainings", type=int, default=18, help="plans and rivals to train, each with every seed")
    run(parser.parse_args())
