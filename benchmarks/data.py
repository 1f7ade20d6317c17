"""Streaming a 1000-class folder of photographs: memory against the set's size, and images per second.

    python benchmarks/data.py [--folder DIR] [--images N]

Makes JPEGs of about 400x300 pixels (smoothed noise, 1000 classes, not square, mixed sizes), at least N of them; larger
sets repeat the files by links. Each row is a process of its own that walks through one epoch as training does (random
crop, 224x224, mirror). Memory is the highest resident size, less what it was after the imports; "listing" is what the
names of the files take. The last row is torchvision's ImageFolder and RandomResizedCrop in a torch DataLoader on the
same files; the memory of its worker processes is not counted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

CLASSES = 1000
BATCH = 64
SIZE = 224


def make(folder: Path, *, images: int, repeats: int) -> None:
    """Write the images, `repeats` names for each."""
    per_class = -(-images // CLASSES)

    def one(place: tuple[int, int]) -> None:
        label, number = place
        random = np.random.default_rng(label * per_class + number)
        coarse = random.integers(0, 256, (random.integers(20, 60), random.integers(20, 60), 3), dtype=np.uint8)
        size = (int(random.integers(300, 500)), int(random.integers(240, 400)))
        path = folder / f"class{label:04}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
        for repeat in range(1, repeats):
            os.link(path, path.with_stem(f"{number}-{repeat}"))

    with ThreadPoolExecutor() as pool:
        list(pool.map(one, itertools.product(range(CLASSES), range(per_class))))


def walk(folder: Path, how: str) -> dict[str, float]:
    """Walk through one epoch and say what it took."""
    torch.set_num_threads(1)
    before = _resident()
    batches, listed = _loader(folder) if how == "DataLoader" else _stream(folder)
    listing = listed - before
    images = 0
    started, spent = time.monotonic(), _cpu_s()
    for pixels, _ in batches:
        images += len(pixels)
    return {
        "cpu_ms": 1000 * (_cpu_s() - spent) / images,
        "images": images,
        "listing_mib": listing,
        "peak_mib": _resident() - listed,
        "per_second": images / (time.monotonic() - started),
    }


def _stream(folder: Path):
    from layerprune.api.network import Preprocess
    from layerprune.data.folder import class_names, read
    from layerprune.data.own import IMAGENET_MEAN, IMAGENET_STD
    from layerprune.data.streaming import StreamedFeed

    source = read(folder, class_names(folder))
    preprocess = Preprocess(size=SIZE, resize=256, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    everything = np.arange(len(source.labels))
    feed = StreamedFeed(source, everything, torch.from_numpy(source.labels), preprocess)
    return feed.epoch(BATCH, generator=torch.Generator().manual_seed(0), flip=True), _resident()


def _loader(folder: Path):
    from torchvision import datasets, transforms

    steps = [
        transforms.RandomResizedCrop(SIZE, scale=(0.35, 1)),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
    found = datasets.ImageFolder(str(folder), transforms.Compose(steps))
    workers = len(os.sched_getaffinity(0))
    return torch.utils.data.DataLoader(found, BATCH, shuffle=True, num_workers=workers), _resident()


def _resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _cpu_s() -> float:
    """Processor time of this process and of those of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def compare(folder: Path, images: int) -> None:
    """Make the sets, walk through each in processes of their own, and print the table."""
    machine, cores = platform.processor() or platform.machine(), len(os.sched_getaffinity(0))
    print(f"{machine}, {cores} cores, torch {torch.__version__}\n")
    print(
        "| loader | images | listing, MiB | epoch, MiB more | images per second | CPU ms per image |\n"
        "|---|---|---|---|---|---|"
    )
    sets = {repeats: folder / f"times{repeats}" for repeats in (1, 2, 4)}
    for repeats, place in sets.items():
        if not place.exists():
            make(place, images=images, repeats=repeats)
    for how, places in (("layerprune", list(sets.values())), ("DataLoader", [sets[1]])):
        for place in places:
            command = [sys.executable, __file__, "--walk", how, "--folder", str(place)]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            print(
                f"| {how} | {found['images']} | {found['listing_mib']:.0f} | {found['peak_mib']:.0f} "
                f"| {found['per_second']:.0f} | {found['cpu_ms']:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the images are or shall be; default: a temporary folder")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--walk", choices=["layerprune", "DataLoader"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.walk:
        print(json.dumps(walk(arguments.folder, arguments.walk)))
    elif arguments.folder:
        compare(arguments.folder, arguments.images)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            compare(Path(temporary), arguments.images)
