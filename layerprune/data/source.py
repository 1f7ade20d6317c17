"""Images that can be fetched one by one, and the sets that are made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from layerprune.api.errors import BadInput
from layerprune.api.network import Preprocess

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


class Source(Protocol):
    """Labelled images in a stored order."""

    @property
    def labels(self) -> Labels:
        """The class of every image, as int64 (N)."""

    @property
    def channels(self) -> Literal[1, 3]:
        """How many channels an image has by itself: 1 only where all are known to be grey."""

    def image(self, position: int) -> Image.Image:
        """Decode one image, upright. Raises BadInput, which names the image, if that is impossible."""

    def identify(self, positions: Labels) -> bytes:
        """Return what tells these images from others: their pixels, or names and sizes where pixels are too many."""


@dataclass(frozen=True)
class ArraySource:
    """Images that lie in memory, as uint8 N x H x W x C."""

    pixels: Pixels
    labels: Labels

    @property
    def channels(self) -> Literal[1, 3]:
        return 1 if self.pixels.shape[3] == 1 else 3

    def image(self, position: int) -> Image.Image:
        from PIL import Image

        pixels = self.pixels[position]
        return Image.fromarray(pixels[:, :, 0] if self.channels == 1 else pixels)

    def identify(self, positions: Labels) -> bytes:
        chosen = self.pixels[positions]
        return repr(chosen.shape).encode() + chosen.tobytes()


@dataclass(frozen=True)
class Renumbered:
    """A source whose classes have other numbers: `numbers[old]` is the new one."""

    source: Source
    numbers: Labels

    @property
    def labels(self) -> Labels:
        return self.numbers[self.source.labels]

    @property
    def channels(self) -> Literal[1, 3]:
        return self.source.channels

    def image(self, position: int) -> Image.Image:
        return self.source.image(position)

    def identify(self, positions: Labels) -> bytes:
        return self.source.identify(positions)


@dataclass(frozen=True)
class Split:
    """The images of one split: their source, and their positions in it in the order in which they are used."""

    source: Source
    positions: Labels

    @property
    def labels(self) -> Labels:
        return self.source.labels[self.positions]

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True)
class Dataset:
    """A labelled set of images with its stored splits, and what is used with it unless the job says otherwise."""

    name: str
    classes: tuple[str, ...]
    train: Split
    calibration: Split
    validation: Split
    test: Split
    preprocess: Preprocess
    base_epochs: int
    flip: bool
    """Whether a mirrored image still shows its class."""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the classes, and over the images, labels and positions of every split; see Source.identify.

        The same whatever numbers the classes have.
        """
        order = np.argsort(np.array(self.classes))
        numbers = np.argsort(order)
        digest = hashlib.sha256("\x00".join((self.name, *sorted(self.classes))).encode())
        for split in (self.train, self.calibration, self.validation, self.test):
            digest.update(split.source.identify(split.positions))
            for array in (numbers[split.labels].astype("<i8"), split.positions.astype("<i8")):
                digest.update(repr(array.shape).encode() + array.tobytes())
        return digest.hexdigest()

    def with_order(self, classes: Sequence[str]) -> Dataset:
        """Return the same set with its classes in another order, a network's. Raises BadInput if they are others."""
        for one, names, others in (
            ("the data set", self.classes, classes),
            ("the network", tuple(classes), self.classes),
        ):
            strange = next((name for name in names if name not in set(others)), None)
            if strange is not None or len(set(names)) < len(names):
                what = f"{one} has the class {strange!r}, the other has not" if strange else f"{one} has a class twice"
                raise BadInput(
                    f"the network's classes are not the data set's: {what}",
                    field="model.preprocess.classes",
                    value=strange,
                    remedy="Name the classes in the order of the network's outputs, exactly as the data set does.",
                )
        numbers = np.array([list(classes).index(name) for name in self.classes], np.int64)
        train, calibration, validation, test = (
            Split(Renumbered(part.source, numbers), part.positions)
            for part in (self.train, self.calibration, self.validation, self.test)
        )
        return replace(
            self, classes=tuple(classes), train=train, calibration=calibration, validation=validation, test=test
        )
