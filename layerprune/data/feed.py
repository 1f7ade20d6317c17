"""How every split is handed around: labelled batches, made when they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import overload

import torch
from torch import Tensor

from layerprune.api.errors import BadInput
from layerprune.api.network import Preprocess

from .preprocess import check, normalise

Batch = tuple[Tensor, Tensor]
"""Normalised images (float32 N x C x H x W) and labels (int64 N), on one device."""
Device = torch.device | str


class Feed(ABC):
    """The images of one split as the network takes them; between uses they are bytes, in memory or on disk.

    `labels` are int64 (N) on the CPU, `shape` is that of one input: C, H, W.
    """

    def __init__(self, labels: Tensor, preprocess: Preprocess) -> None:
        check(preprocess)
        self.labels = labels
        self.preprocess = preprocess
        self.shape = (preprocess.channels, preprocess.size, preprocess.size)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, batch_size: int, *, device: Device = "cpu", even: bool = False) -> Sequence[Batch]:
        """Return all images in stored order, in batches that are made whenever they are looked at.

        The last batch is what is left over; with `even` there is no such batch, but all hold `batch_size` images or
        some more, and differ by one at most.
        """
        everything = torch.arange(len(self))
        parts = split_evenly(everything, batch_size) if even else torch.split(everything, batch_size)
        return _Batches(self, parts, device)

    @abstractmethod
    def epoch(
        self,
        batch_size: int,
        *,
        generator: torch.Generator,
        device: Device = "cpu",
        flip: bool = False,
        skip: int = 0,
    ) -> Iterator[Batch]:
        """Yield all images once, shuffled and augmented, in batches of nearly equal size (at least `batch_size`).

        Images are shifted or cropped at random and, with `flip`, mirrored with probability one half. All randomness
        comes from the generator (on the CPU). `skip` leaves out so many batches at the start but draws for them, so
        that an epoch goes on where it stopped if the generator is put back to where the epoch began.
        """

    @abstractmethod
    def pixels(self, positions: Tensor) -> Tensor:
        """Return the images at these positions before normalisation (uint8 N x C x H x W, C possibly 1 of 3)."""

    def read(self, parts: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the pixels of one batch after the other."""
        return map(self.pixels, parts)

    @abstractmethod
    def subset(self, positions: Tensor) -> Feed:
        """Return the images at these positions, in this order, as a feed of its own."""

    def sample(self, count: int, *, seed: int) -> Feed:
        """Draw so many images, or all if there are fewer, in random order."""
        return self.subset(torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count])

    def first(self, count: int) -> Tensor:
        """Return the first images, or all if there are fewer, normalised."""
        return normalise(self.pixels(torch.arange(min(count, len(self)))), self.preprocess)


class MemoryFeed(Feed):
    """Images decoded at the network's size once: uint8 N x C x H x W, C being 1 or the network's channels."""

    def __init__(self, pixels: Tensor, labels: Tensor, preprocess: Preprocess) -> None:
        if pixels.shape[1] not in (1, preprocess.channels):
            raise BadInput(
                f"images have {pixels.shape[1]} channels, the network takes {preprocess.channels}",
                field="model.preprocess.channels",
                value=preprocess.channels,
                remedy="Set preprocess.channels to the images' channels.",
            )
        super().__init__(labels, preprocess)
        self.shape = (preprocess.channels, pixels.shape[2], pixels.shape[3])
        self._pixels = pixels

    def epoch(
        self,
        batch_size: int,
        *,
        generator: torch.Generator,
        device: Device = "cpu",
        flip: bool = False,
        skip: int = 0,
    ) -> Iterator[Batch]:
        """Shift every image by up to an eighth of its height in both directions, edge pixels filling the gap."""
        reach = max(1, self.shape[1] // 8)
        parts = split_evenly(torch.randperm(len(self), generator=generator), batch_size)
        for number, chosen in enumerate(parts):
            moves = torch.randint(-reach, reach + 1, (2, len(chosen)), generator=generator)
            turned = torch.rand(len(chosen), generator=generator) < 0.5 if flip else None
            if number < skip:
                continue
            pixels = shift(self._pixels[chosen].to(device), moves)
            if turned is not None:
                pixels = mirror(pixels, turned)
            yield normalise(pixels, self.preprocess), self.labels[chosen].to(device)

    def pixels(self, positions: Tensor) -> Tensor:
        return self._pixels[positions]

    def subset(self, positions: Tensor) -> MemoryFeed:
        return MemoryFeed(self._pixels[positions], self.labels[positions], self.preprocess)


class _Batches(Sequence[Batch]):
    def __init__(self, feed: Feed, parts: tuple[Tensor, ...], device: Device) -> None:
        self._feed, self._parts, self._device = feed, parts, device

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, index: int) -> Batch: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Batch]: ...

    def __getitem__(self, index: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(index, slice):
            return _Batches(self._feed, self._parts[index], self._device)
        return self._batch(self._parts[index], self._feed.pixels(self._parts[index]))

    def __iter__(self) -> Iterator[Batch]:
        for positions, pixels in zip(self._parts, self._feed.read(self._parts), strict=True):
            yield self._batch(positions, pixels)

    def _batch(self, positions: Tensor, pixels: Tensor) -> Batch:
        images = normalise(pixels.to(self._device), self._feed.preprocess)
        return images, self._feed.labels[positions].to(self._device)


def split_evenly(positions: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """Split into batches that hold `batch_size` or some more: a leftover of one image would make batch norm fail."""
    return positions.tensor_split(max(1, len(positions) // batch_size))


def shift(pixels: Tensor, moves: Tensor) -> Tensor:
    """Move each of N images (N x C x H x W) by its `moves` (int64 2 x N, up and left); edge pixels fill the gap."""
    count, channels, height, width = pixels.shape
    device = pixels.device
    up, left = moves.to(device)
    rows = (torch.arange(height, device=device) + up[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width, device=device) + left[:, None]).clamp(0, width - 1)
    image = torch.arange(count, device=device)[:, None, None, None]
    channel = torch.arange(channels, device=device)[None, :, None, None]
    return pixels[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def mirror(pixels: Tensor, turned: Tensor) -> Tensor:
    """Swap left and right in the images (N x C x H x W) that are `turned` (bool N)."""
    return torch.where(turned.to(pixels.device)[:, None, None, None], pixels.flip(3), pixels)
