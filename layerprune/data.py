"""Data sets as arrays in four splits, and the one way an image becomes the network's input.

Splits: the official test set if there is one, else a stratified part; the rest is 75 / 12.5 / 12.5 per cent training,
calibration (scores are computed on it) and validation (variants are chosen by it). Test images only give the reported
figures.
"""

from __future__ import annotations

import hashlib
import importlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from layerprune.api.catalogue import DatasetInfo
from layerprune.api.errors import BadInput, UnknownName
from layerprune.api.network import Preprocess

if TYPE_CHECKING:
    import torch

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Images (uint8, N x H x W x C), their labels (int64, N) and their positions in the original data set."""

    images: Images
    labels: Labels
    indices: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """A labelled set of images with its stored splits and the statistics of its training pixels (scaled to 0..1)."""

    name: str
    classes: tuple[str, ...]
    train: Split
    calibration: Split
    validation: Split
    test: Split
    default_size: int
    default_base_epochs: int
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the classes, and the pixels, labels and positions of every split."""
        digest = hashlib.sha256("\x00".join((self.name, *self.classes)).encode())
        for split in (self.train, self.calibration, self.validation, self.test):
            for array in (split.images, split.labels.astype("<i8"), split.indices.astype("<i8")):
                digest.update(repr(array.shape).encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def default_preprocess(self, *, channels: Literal[1, 3] = 3) -> Preprocess:
        """Return how the images enter a network with so many input channels, unless the job says otherwise."""
        if len(self.pixel_mean) == 3 and channels == 1:
            raise BadInput(
                f"{self.name} has colour images, the network takes 1 channel",
                field="model.args.in_channels",
                value=channels,
                remedy="Use a network with 3 input channels.",
            )
        copies = channels // len(self.pixel_mean)
        return Preprocess(
            size=self.default_size,
            channels=channels,
            mean=list(self.pixel_mean) * copies,
            std=list(self.pixel_std) * copies,
            classes=list(self.classes),
        )


@dataclass(frozen=True)
class _Entry:
    info: DatasetInfo
    loader: str  # "module:function"; a string, so that listing the data sets imports none of their libraries


_DATASETS = {
    "digits": _Entry(
        DatasetInfo(
            name="digits",
            description="scikit-learn's handwritten digits: 8x8 grey images of real handwriting, bundled, no download",
            classes=10,
            train_images=942,
            test_images=540,
        ),
        "layerprune.data:_load_digits",
    ),
}
_SPLIT_SEED = 20200712


def list_datasets() -> list[DatasetInfo]:
    """List the data sets that can be loaded here."""
    return [entry.info for entry in _DATASETS.values()]


def load_dataset(name: str) -> Dataset:
    """Load a data set with its splits; the same name gives the same arrays everywhere.

    Raises UnknownName for a name that is not in the table.
    """
    if name not in _DATASETS:
        raise UnknownName("dataset", name, _DATASETS, field="dataset.name")
    module, _, function = _DATASETS[name].loader.partition(":")
    dataset: Dataset = getattr(importlib.import_module(module), function)()
    return dataset


def preprocess_images(images: Images, preprocess: Preprocess) -> Images:
    """Resize uint8 images (N x H x W x C) to the network's square size; channels and the 0..255 scale stay."""
    from PIL import Image

    if images.shape[1:3] == (preprocess.size, preprocess.size):
        return images
    methods = {
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "nearest": Image.Resampling.NEAREST,
    }
    method = methods[preprocess.interpolation]
    grey = images.shape[3] == 1
    resized = [
        np.asarray(
            Image.fromarray(image[:, :, 0] if grey else image).resize((preprocess.size, preprocess.size), method)
        )
        for image in images
    ]
    return np.stack(resized).reshape(len(images), preprocess.size, preprocess.size, images.shape[3])


def normalise(images: Images, preprocess: Preprocess) -> torch.Tensor:
    """Turn resized uint8 images (N x H x W x C) into the network's input, float32 N x C x H x W.

    Pixels are scaled to 0..1, grey images repeated to the network's channels, then (x - mean) / std per channel.
    """
    import torch

    if images.shape[3] not in (1, preprocess.channels):
        raise BadInput(
            f"images have {images.shape[3]} channels, the network takes {preprocess.channels}",
            field="model.preprocess.channels",
            value=preprocess.channels,
            remedy="Set preprocess.channels to the images' channels.",
        )
    for name, values in (("mean", preprocess.mean), ("std", preprocess.std)):
        if len(values) != preprocess.channels:
            raise BadInput(
                f"preprocess.{name} has {len(values)} values for {preprocess.channels} channels",
                field=f"model.preprocess.{name}",
                value=values,
                remedy="Give one value per channel.",
            )
    scaled = images.astype(np.float32) / np.float32(255)
    normalised = (scaled - np.asarray(preprocess.mean, np.float32)) / np.asarray(preprocess.std, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(0, 3, 1, 2)))


def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, :, :, None]
    train, calibration, validation, test = _split(bunch.target.astype(np.int64), images, test=0.3)
    pixels = train.images / 255.0
    return Dataset(
        name="digits",
        classes=tuple(str(name) for name in bunch.target_names),
        train=train,
        calibration=calibration,
        validation=validation,
        test=test,
        default_size=16,
        default_base_epochs=20,
        pixel_mean=(round(float(pixels.mean()), 4),),
        pixel_std=(round(float(pixels.std()), 4),),
    )


def _split(labels: Labels, images: Images, *, test: float) -> tuple[Split, Split, Split, Split]:
    """Split stratified by class: the test part first, then the rest 75 / 12.5 / 12.5; positions ascend in each part."""
    from sklearn.model_selection import train_test_split

    def cut(positions: Labels, fraction: float) -> tuple[Any, Any]:
        size = math.ceil(fraction * len(positions))
        kept, taken = train_test_split(positions, test_size=size, stratify=labels[positions], random_state=_SPLIT_SEED)
        return kept, taken

    def part(positions: Labels) -> Split:
        ordered = np.sort(positions)
        return Split(images[ordered], labels[ordered], ordered)

    rest, tested = cut(np.arange(len(labels)), test)
    train, held_out = cut(rest, 0.25)
    calibration, validation = cut(held_out, 0.5)
    return part(train), part(calibration), part(validation), part(tested)
