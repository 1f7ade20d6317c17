"""CIFAR and ImageNet, as torchvision stores them or as parquet files, below a data root of the worker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput, LayerPruneError
from layerprune.api.network import Preprocess
from layerprune.roots import data_roots, downloads

from .own import IMAGENET_MEAN, IMAGENET_STD
from .source import ArraySource, Dataset
from .splits import split

_CIFAR = {
    "cifar10": ("CIFAR10", "cifar-10-batches-py", [0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616]),
    "cifar100": ("CIFAR100", "cifar-100-python", [0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]),
}


def has_cifar10() -> bool:
    """Whether CIFAR-10 is here or may be downloaded."""
    return _cifar_place("cifar10") is not None or downloads() is not None


def has_cifar100() -> bool:
    """Whether CIFAR-100 is here or may be downloaded."""
    return _cifar_place("cifar100") is not None or downloads() is not None


def has_imagenet() -> bool:
    """Whether ImageNet is here: it cannot be downloaded without an account."""
    return _imagenet_place() is not None


def load_cifar(spec: DatasetSpec, *, folder: Path | None) -> Dataset:
    """Load CIFAR-10 or CIFAR-100 with their official test set. Raises BadInput where they are not."""
    kind, _, mean, std = _CIFAR[spec.name]
    defaults: dict[str, Any] = {
        "preprocess": Preprocess(size=32, channels=3, mean=mean, std=std),
        "base_epochs": 30,
    }
    place = _cifar_place(spec.name)
    if place is not None and any(place.glob("*.parquet")):
        from .own import load_from

        return replace(load_from(spec, place, folder=folder), **defaults)
    train, test = _torchvision(kind, place, train=True), _torchvision(kind, place, train=False)
    classes = tuple(train.classes)
    parts = [ArraySource(one.data, np.asarray(one.targets, np.int64)) for one in (train, test)]
    splits = split(classes, parts[0], test=parts[1], first=spec.max_train_images)
    return Dataset(spec.name, classes, *splits, flip=True, **defaults)


def load_imagenet(spec: DatasetSpec, *, folder: Path | None) -> Dataset:  # noqa: ARG001 (nothing to unpack)
    """Load ImageNet (ILSVRC 2012) from its folders `train` and `val`; the test set is `val`.

    Classes are in the order of their WordNet ids, as everywhere, and have torchvision's names.
    """
    from torchvision.models import ResNet50_Weights

    from .folder import class_names, read

    place = _imagenet_place()
    if place is None:
        raise _missing("imagenet", "a folder imagenet with train/nXXXXXXXX and val/nXXXXXXXX")
    ids = class_names(place / "train")
    train, test = read(place / "train", ids), read(place / "val", ids)
    names = ResNet50_Weights.DEFAULT.meta["categories"]
    classes = tuple(names) if len(ids) == len(names) else ids
    splits = split(classes, train, test=test, first=spec.max_train_images)
    preprocess = Preprocess(size=224, resize=256, channels=3, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return Dataset("imagenet", classes, *splits, preprocess=preprocess, base_epochs=90, flip=True)


def _torchvision(kind: str, place: Path | None, *, train: bool) -> Any:
    import torchvision.datasets

    target = place or downloads()
    if target is None:
        raise _missing(kind.lower(), "torchvision's folder of it, or parquet files in a folder of this name")
    try:
        return getattr(torchvision.datasets, kind)(target, train=train, download=place is None)
    except (RuntimeError, OSError) as error:
        if place is None:
            raise LayerPruneError(
                f"{kind} cannot be downloaded: {error}", code="unavailable", remedy="Put it below a data root instead."
            ) from error
        raise BadInput(
            f"{kind} is incomplete or corrupted: {error}",
            field="dataset.name",
            value=kind.lower(),
            remedy="Download it anew into the worker's data root.",
        ) from error


def _cifar_place(name: str) -> Path | None:
    """Find the folder that torchvision calls the root of the set, or the one with its parquet files."""
    inside = _CIFAR[name][1]
    below = [root / part for root in data_roots() for part in (".", name)]
    places = [*below, *filter(None, [downloads()])]
    found = (place for place in places if (place / inside).is_dir())
    return next(found, None) or next((place for place in below[1::2] if any(place.glob("*.parquet"))), None)


def _imagenet_place() -> Path | None:
    places = [root / part for root in data_roots() for part in (".", "imagenet", "ILSVRC2012")]
    return next((place for place in places if any(place.glob("val/n[0-9]*")) and (place / "train").is_dir()), None)


def _missing(name: str, wanted: str) -> BadInput:
    return BadInput(
        f"this worker does not have {name}",
        field="dataset.name",
        value=name,
        remedy=f"Put {wanted} below a data root (layerprune worker --data-root DIR).",
    )
