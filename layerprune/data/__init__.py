"""Data sets by name: where their images come from, and how these are split.

Adding one is a file with a function and a row of this table; reading the table imports neither the file nor torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerprune.api.catalogue import DatasetInfo
from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import UnknownName

if TYPE_CHECKING:
    from .source import Dataset


@dataclass(frozen=True)
class _Row:
    location: str  # "module:function"
    info: DatasetInfo
    presence: str | None = None  # a function that says whether it is here; None: always


_ROWS = [
    _Row(
        "layerprune.data.digits:load",
        DatasetInfo(
            name="digits",
            description="scikit-learn's handwritten digits: 8x8 grey images of real handwriting, bundled, no download",
            classes=10,
            train_images=942,
            test_images=540,
        ),
    ),
    _Row(
        "layerprune.data.public:load_cifar",
        DatasetInfo(
            name="cifar10",
            description="CIFAR-10: 32x32 colour images of animals and vehicles",
            classes=10,
            train_images=37500,
            test_images=10000,
        ),
        "layerprune.data.public:has_cifar10",
    ),
    _Row(
        "layerprune.data.public:load_cifar",
        DatasetInfo(
            name="cifar100",
            description="CIFAR-100: 32x32 colour images",
            classes=100,
            train_images=37500,
            test_images=10000,
        ),
        "layerprune.data.public:has_cifar100",
    ),
    _Row(
        "layerprune.data.public:load_imagenet",
        DatasetInfo(
            name="imagenet",
            description="ImageNet, ILSVRC 2012: photographs, below a data root of the worker",
            classes=1000,
            train_images=1261167,
            test_images=50000,
        ),
        "layerprune.data.public:has_imagenet",
    ),
]
_OWN = "layerprune.data.own:load"
_TABLE = {row.info.name: row for row in _ROWS}


def list_datasets() -> list[DatasetInfo]:
    """List the data sets that can be loaded here."""
    return [row.info for row in _ROWS if row.presence is None or _function(row.presence)()]


def known_names() -> list[str]:
    """The names of the public sets, here or not."""
    return list(_TABLE)


def load_dataset(spec: DatasetSpec, *, folder: Path | None = None) -> Dataset:
    """Load a data set with its splits; the same specification gives the same images and splits everywhere.

    `folder` is the task's: an upload lies in its `inputs`, by digest. A specification with a path or an upload
    means the user's own images, whatever it calls them. Raises UnknownName and BadInput.
    """
    if spec.path is None and spec.upload is None and spec.name not in _TABLE:
        raise UnknownName("dataset", spec.name, _TABLE, field="dataset.name")
    own = spec.path is not None or spec.upload is not None
    dataset: Dataset = _function(_OWN if own else _TABLE[spec.name].location)(spec, folder=folder)
    return dataset


def _function(location: str) -> Callable[..., Any]:
    module, _, name = location.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found
