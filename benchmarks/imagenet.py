"""Does our loader show a network ImageNet as its authors did? torchvision's resnet50 must reach its published accuracy.

    python benchmarks/imagenet.py /path/to/imagenet [--weights IMAGENET1K_V1] [--checkpoint FILE]

The path holds `val/nXXXXXXXX/*.JPEG` (ILSVRC 2012, 50,000 images). Weights come from torchvision, which downloads them,
or from a checkpoint file of theirs. Published are 80.858 % (V2) and 76.130 % (V1); 0.1 points are accepted, for other
versions of the JPEG decoder. Ends with status 1 if the accuracy is further off.

This has not been run by the authors: there was no ImageNet at hand.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torchvision.models import ResNet50_Weights, resnet50

from layerprune.api.network import Preprocess
from layerprune.data.folder import class_names, read
from layerprune.data.streaming import StreamedFeed
from layerprune.evaluate import evaluate

MARGIN = 0.1
"""Percentage points."""


def accuracy(path: Path, weights: ResNet50_Weights, checkpoint: Path | None) -> float:
    """Return the percentage of the validation images that resnet50 gets right, seen through our loader."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = resnet50()
    model.load_state_dict(
        torch.load(checkpoint, weights_only=True) if checkpoint else weights.get_state_dict(check_hash=True)
    )
    theirs = weights.transforms()
    preprocess = Preprocess(
        size=theirs.crop_size[0],
        resize=theirs.resize_size[0],
        interpolation=theirs.interpolation.value,
        mean=theirs.mean,
        std=theirs.std,
    )
    source = read(path / "val", class_names(path / "val"))
    feed = StreamedFeed(source, np.arange(len(source.labels)), torch.from_numpy(source.labels), preprocess)
    count, _ = evaluate(model.to(device), feed)
    return 100 * count.correct / count.n


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--weights", choices=[one.name for one in ResNet50_Weights], default="IMAGENET1K_V2")
    parser.add_argument("--checkpoint", type=Path)
    arguments = parser.parse_args()
    chosen = ResNet50_Weights[arguments.weights]
    published = chosen.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    started = time.monotonic()
    found = accuracy(arguments.path, chosen, arguments.checkpoint)
    print(f"{chosen}: {found:.3f} % here, {published:.3f} % published, in {time.monotonic() - started:.0f} s")
    raise SystemExit(0 if abs(found - published) <= MARGIN else 1)
