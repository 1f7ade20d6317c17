"""A data set as one network takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.api.network import ModelSpec, Preprocess

from . import load_dataset
from .feed import Feed, MemoryFeed
from .preprocess import check
from .source import Dataset, Split
from .streaming import StreamedFeed, decode_all

MEMORY_BYTES = 1 << 30
"""A set whose images, decoded to bytes at the network's size, take no more lies in memory; a larger one streams."""
PACK_BYTES = 2 << 30
"""The largest evaluation pack; of more test images a part is drawn that has every class in its proportion."""
_SEED = 20200712


@dataclass(frozen=True)
class Material:
    """A data set, how its images become inputs, and its four splits as such."""

    dataset: Dataset
    preprocess: Preprocess
    train: Feed
    calibration: Feed
    validation: Feed
    test: Feed

    @property
    def example(self) -> Tensor:
        """Two real images, enough to trace and to export with a dynamic batch."""
        return self.test.first(2)

    @cached_property
    def pack(self) -> Feed:
        """The test images that devices are asked about: all, unless they take more than `PACK_BYTES`."""
        return limited(self.test, PACK_BYTES)


def load_material(
    model: ModelSpec,
    dataset: DatasetSpec,
    *,
    folder: Path | None = None,
    class_order: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
) -> Material:
    """Load the data set and prepare it for the model: by the job's preprocessing, else the given one, else its own.

    `folder` is the task's: an upload lies in its `inputs`, by digest. The classes get the numbers of the network's
    outputs, in the `class_order` given or the one that the preprocessing names. Raises BadInput.
    """
    data = load_dataset(dataset, folder=folder)
    channels: Literal[1, 3] = 1 if model.args.get("in_channels") == 1 else 3
    preprocess = model.preprocess or preprocess or _default(data, channels=channels)
    check(preprocess)
    order = class_order or preprocess.classes
    data = data.with_order(order) if order else data
    parts = (data.train, data.calibration, data.validation, data.test)
    in_memory = sum(_bytes(part, preprocess) for part in parts) <= MEMORY_BYTES
    train, calibration, validation, test = (_feed(part, preprocess, in_memory=in_memory) for part in parts)
    return Material(
        dataset=data,
        preprocess=preprocess.model_copy(update={"classes": list(data.classes)}),
        train=train,
        calibration=calibration,
        validation=validation,
        test=test,
    )


def limited(feed: Feed, most_bytes: int) -> Feed:
    """Return the images, or as many of them as fit (as bytes), stratified by class and in stored order."""
    _, channels, height, width = feed.pixels(torch.arange(1)).shape
    most = most_bytes // (channels * height * width)
    if len(feed) <= most:
        return feed
    labels = feed.labels.numpy()
    # A random order within each class, and of all images those that come first in their class by proportion.
    shuffled = np.random.default_rng(_SEED).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    place = (np.arange(len(labels)) - starts + 0.5) / np.repeat(counts, counts)
    chosen = by_class[np.argsort(place, kind="stable")[:most]]
    return feed.subset(torch.from_numpy(np.sort(chosen)))


def _default(data: Dataset, *, channels: Literal[1, 3]) -> Preprocess:
    """The data set's own preprocessing for a network with so many input channels."""
    own = data.preprocess
    if own.channels == 3 and channels == 1:
        raise BadInput(
            f"{data.name} has colour images, the network takes 1 channel",
            field="model.args.in_channels",
            value=channels,
            remedy="Use a network with 3 input channels, or give model.preprocess with 1 channel to see them in grey.",
        )
    copies = channels // own.channels
    return own.model_copy(update={"channels": channels, "mean": own.mean * copies, "std": own.std * copies})


def _bytes(split: Split, preprocess: Preprocess) -> int:
    channels = min(split.source.channels, preprocess.channels)
    return len(split) * channels * preprocess.size**2


def _feed(split: Split, preprocess: Preprocess, *, in_memory: bool) -> Feed:
    labels = torch.from_numpy(split.labels)
    if in_memory:
        return MemoryFeed(decode_all(split.source, split.positions, preprocess), labels, preprocess)
    return StreamedFeed(split.source, split.positions, labels, preprocess)
