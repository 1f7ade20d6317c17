"""The user's own images: found at a path or unpacked from an upload, whatever their form."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.api.network import Preprocess
from layerprune.roots import resolve

from .source import Dataset, Source, Split
from .splits import split

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_LOOKED_AT = 64
_LARGEST = 224


def load(spec: DatasetSpec, *, folder: Path | None) -> Dataset:
    """Load the images at the path or in the upload that the job names. Raises BadInput."""
    if spec.path is not None:
        return load_from(spec, resolve(spec.path), folder=folder)
    from .upload import unpack

    if folder is None:
        raise BadInput("an uploaded data set needs a folder to unpack it into", field="dataset.upload")
    return load_from(spec, unpack(folder / "inputs" / str(spec.upload), folder / "dataset"), folder=folder)


def load_from(spec: DatasetSpec, place: Path, *, folder: Path | None) -> Dataset:
    """Load parquet files if there are any at the place (or one folder deeper), else a folder of images."""
    from . import folder as image_folder
    from . import parquet

    files = parquet.find(place)
    if files:
        return parquet.load(spec, files, folder=folder)
    if not place.is_dir():
        raise BadInput(
            f"{place.name!r} is neither a folder nor a parquet file",
            field="dataset.path",
            value=place.name,
            remedy="Name a folder with one folder of images per class, or parquet files.",
        )
    return image_folder.load(spec, place)


def assemble(spec: DatasetSpec, classes: tuple[str, ...], sources: Mapping[str, Source]) -> Dataset:
    """Make the data set of what was found: "train", and "validation" and "test" where the user set them apart."""
    train, calibration, validation, test = split(
        classes,
        sources["train"],
        validation=sources.get("validation"),
        test=sources.get("test"),
        first=spec.max_train_images,
    )
    return Dataset(
        name=spec.name or "own images",
        classes=classes,
        train=train,
        calibration=calibration,
        validation=validation,
        test=test,
        preprocess=default_preprocess(train),
        base_epochs=30,
        flip=True,
    )


def default_preprocess(train: Split) -> Preprocess:
    """Choose an input size from the training images: their usual shorter edge, at most 224, a multiple of 8.

    Images are resized by their shorter edge (to 256 for 224) and cropped; the statistics are ImageNet's.
    """
    drawn = np.linspace(0, len(train) - 1, min(_LOOKED_AT, len(train))).astype(int)
    images = (train.source.image(int(position)) for position in train.positions[drawn])
    edge = statistics.median(min(image.size) for image in images)
    size = max(8, min(_LARGEST, int(edge) // 8 * 8))
    return Preprocess(
        size=size, resize=256 if size == _LARGEST else size, channels=3, mean=IMAGENET_MEAN, std=IMAGENET_STD
    )
