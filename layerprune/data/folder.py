"""A folder with one folder of images per class, possibly in `train`, `val` and `test` folders."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.inspection.layout import SUFFIXES, is_hidden, splits_by_name

from .own import assemble
from .source import Dataset, Labels

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class FolderSource:
    """Images in files; the stored order is the first image of every class, then the second of every class, and so on.

    So the first images of the set hold every class. Within a class the order is that of the names.
    """

    root: Path
    names: Sequence[str]
    labels: Labels

    @property
    def channels(self) -> Literal[1, 3]:
        return 3

    def image(self, position: int) -> Image.Image:
        from .decoding import decode

        return decode(self.root / self.names[position], name=self.names[position])

    def identify(self, positions: Labels) -> bytes:
        """Return a digest over names and sizes; the pixels of a set that does not fit memory are not all read."""
        digest = hashlib.sha256()
        for position in positions.tolist():
            name = self.names[position]
            digest.update(f"{name}\x00{(self.root / name).stat().st_size}\n".encode())
        return digest.digest()


def load(spec: DatasetSpec, root: Path) -> Dataset:
    """Load a folder of images; classes are the names of the folders, sorted. Raises BadInput."""
    root = _innermost(root)
    parts = splits_by_name([entry.name for entry in _folders(root)])
    classes = class_names(root / parts["train"] if parts else root)
    sources = {part: read(root / name, classes) for part, name in (parts or {"train": ""}).items()}
    return assemble(spec, classes, sources)


def read(root: Path, classes: Sequence[str]) -> FolderSource:
    """List the images below one folder per class; a class without a folder has none. Raises BadInput."""
    strange = next((entry.name for entry in _folders(root) if entry.name not in set(classes)), None)
    if strange is not None:
        raise BadInput(
            f"{root.name} has a folder {strange!r}, which is no class of the training images",
            field="dataset",
            value=strange,
            remedy="Use the same class folders in train, val and test.",
        )
    files = [sorted(_images(root / name, name)) if (root / name).is_dir() else [] for name in classes]
    rounds = zip_longest(*files)
    found = [(name, label) for names in rounds for label, name in enumerate(names) if name is not None]
    if not found:
        raise BadInput(
            f"there are no images in the folder {root.name!r}",
            field="dataset",
            value=root.name,
            remedy=f"Put the images of every class into a folder of its own, as {', '.join(sorted(SUFFIXES))}.",
        )
    return FolderSource(root, [name for name, _ in found], np.array([label for _, label in found], np.int64))


def _innermost(root: Path) -> Path:
    """Step through folders that hold nothing but one folder of folders, as zip files of a folder do."""
    inside = _folders(root)
    while len(inside) == 1 and _folders(root / inside[0].name) and not splits_by_name([inside[0].name]):
        root = root / inside[0].name
        inside = _folders(root)
    return root


def class_names(root: Path) -> tuple[str, ...]:
    """Return the names of the folders, sorted."""
    return tuple(sorted(entry.name for entry in _folders(root)))


def _folders(root: Path) -> list[os.DirEntry[str]]:
    with os.scandir(root) as entries:
        return [entry for entry in entries if entry.is_dir() and not is_hidden(entry.name)]


def _images(folder: Path, prefix: str) -> Iterator[str]:
    """Yield the images below a folder, as paths from the root on; links to folders are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _images(folder / entry.name, name)
            elif not is_hidden(entry.name) and Path(entry.name).suffix.lower() in SUFFIXES:
                yield name
