"""VGG-19 with batch norm, end to end over HTTP, with convolutions that change the width among what may be removed.

    python benchmarks/width_changing.py --folder STATE [--data-root DIR] [--images 2000] [--epochs 1] [--base-epochs 3]

Without DIR (which holds CIFAR-10 in a way that docs/data.md names) the images are the digits. What follows a removed
convolution of this kind gets a new, untrained input, so that these plans live on their fine-tuning. Prints every layer
plan with what it removed; fails if none of them removed a layer that changes the width.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

from layerprune.api.dataset import DatasetSpec
from layerprune.api.jobs import JobRequest, MeasureSpec
from layerprune.api.network import ModelSpec
from layerprune.api.pruning import LayerOptions, PruningSpec, TargetLists
from layerprune.api.training import TrainingSpec
from layerprune.cli.stack import DEVICE, Stack

NETWORK = "cifar:vgg19_bn"


def request(options: argparse.Namespace) -> JobRequest:
    """What is asked of the service."""
    data = DatasetSpec(name="cifar10" if options.data_root else "digits", max_train_images=options.images)
    return JobRequest(
        model=ModelSpec(name=NETWORK),
        dataset=data,
        pruning=PruningSpec(
            methods=["layer"],
            criteria=["weight_l1"],
            layers=LayerOptions(width_changing=True),
            targets=TargetLists(latency_ratios=[0.85, 0.6]),
        ),
        training=TrainingSpec(epochs=options.epochs, base_epochs=options.base_epochs),
        measure=MeasureSpec(devices=[DEVICE], threads=[2]),
    )


def width_changing() -> set[str]:
    """Names of the network's layers that change the width."""
    import torch

    from layerprune import models
    from layerprune.structure.layers import find_layers
    from layerprune.structure.trace import trace

    graph = trace(models.build(NETWORK, classes=10).eval(), torch.zeros(2, 3, 32, 32))
    return {layer.name for layer in find_layers(graph, width_changing=True) if layer.rebuilds is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--base-epochs", type=int, default=3)
    options = parser.parse_args()
    roots, began = [options.data_root] if options.data_root else [], time.monotonic()
    with Stack(options.folder, "127.0.0.1", 0, say=print, data_roots=roots) as stack, stack.client() as client:
        submitted = client.submit(request(options), idempotency_key="width-changing")
        for _ in client.follow(submitted.id, wait_s=20):
            stack.check()
        job = client.get_job(submitted.id)
        if job.state != "done":
            raise SystemExit(f"the job ended as {job.state}: {job.message}")
        rows = client.get_leaderboard(job=job.id).rows
        changing, found = width_changing(), False
        print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores; ", end="")
        print(f"{NETWORK}, {job.request.dataset.label}, {options.images} training images at most, 2 threads; ", end="")
        print(f"{(time.monotonic() - began) / 60:.0f} min.\n")
        print("| plan | removed | of these change the width | latency ratio (95 %) | test accuracy |")
        print("|---|---|---|---|---|")
        for row in rows:
            plan = json.loads(client.download(row.downloads.plan, options.folder / "plan.json").read_text())
            gone = plan["remove"] if plan else []
            wide = sorted(changing & set(gone))
            found |= bool(wide)
            ratio = (
                ""
                if row.ratio is None
                else f"{row.ratio.value:.3f} ({row.ratio.ci_low:.3f} to {row.ratio.ci_high:.3f})"
            )
            print(f"| {row.label} | {len(gone)} | {', '.join(wide)} | {ratio} | {row.accuracy.value:.2%} |")
    if not found:
        raise SystemExit("no plan removed a layer that changes the width")


if __name__ == "__main__":
    main()
