"""A streamed split shows what the same split in memory shows, and keeps no more than some batches."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

from layerprune.api.errors import BadInput
from layerprune.api.network import Preprocess
from layerprune.data.feed import MemoryFeed
from layerprune.data.source import ArraySource, Labels
from layerprune.data.streaming import StreamedFeed, decode_all

PREPROCESS = Preprocess(size=16, resize=18, mean=[0.4] * 3, std=[0.3] * 3)
COUNT = 70


@pytest.fixture
def source() -> ArraySource:
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 20, 30, 3), dtype=np.uint8)
    return ArraySource(pixels, np.arange(COUNT))


@pytest.fixture
def feed(source: ArraySource) -> StreamedFeed:
    return StreamedFeed(source, np.arange(COUNT), torch.arange(COUNT), PREPROCESS)


def _epoch(feed: StreamedFeed, seed: int, **options: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(feed.epoch(16, generator=torch.Generator().manual_seed(seed), **options))


def test_batches_equal_those_from_memory(feed: StreamedFeed, source: ArraySource) -> None:
    memory = MemoryFeed(decode_all(source, np.arange(COUNT), PREPROCESS), torch.arange(COUNT), PREPROCESS)
    assert feed.shape == memory.shape == (3, 16, 16)
    for _ in range(2):
        for (ours, our_labels), (theirs, their_labels) in zip(feed.batches(16), memory.batches(16), strict=True):
            assert torch.equal(ours, theirs)
            assert torch.equal(our_labels, their_labels)
    assert torch.equal(feed.batches(16)[2][0], memory.batches(16)[2][0])
    assert torch.equal(feed.sample(9, seed=3).first(9), memory.sample(9, seed=3).first(9))


def test_an_epoch_shows_every_image_once(feed: StreamedFeed) -> None:
    batches = _epoch(feed, 0)
    assert [len(labels) for _, labels in batches] == [18, 18, 17, 17]
    assert sorted(torch.cat([labels for _, labels in batches]).tolist()) == list(range(COUNT))


def test_the_same_generator_gives_the_same_crops(feed: StreamedFeed) -> None:
    first, again, other = (torch.cat([images for images, _ in _epoch(feed, s, flip=True)]) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_epoch_goes_on_where_it_stopped(feed: StreamedFeed) -> None:
    whole, rest = _epoch(feed, 5, flip=True), _epoch(feed, 5, flip=True, skip=3)
    assert len(rest) == 1
    assert torch.equal(whole[3][0], rest[0][0])


def test_flipping_mirrors_about_half_of_the_images() -> None:
    ramp = np.broadcast_to(np.arange(0, 240, 8, dtype=np.uint8)[None, None, :, None], (200, 20, 30, 3))
    feed = StreamedFeed(ArraySource(ramp, np.zeros(200, np.int64)), np.arange(200), torch.zeros(200), PREPROCESS)
    (images, _), *_ = feed.epoch(200, generator=torch.Generator().manual_seed(0), flip=True)
    assert 70 < int((images[:, 0, 8, 0] > images[:, 0, 8, 15]).sum()) < 130
    (images, _), *_ = feed.epoch(200, generator=torch.Generator().manual_seed(0))
    assert int((images[:, 0, 8, 0] > images[:, 0, 8, 15]).sum()) == 0


@dataclass
class _Counting:
    """Counts the images that were asked for."""

    labels: Labels
    asked: int = 0
    channels: Literal[1, 3] = 3
    broken: int = -1

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def image(self, position: int) -> Image.Image:
        with self._lock:
            self.asked += 1
        if position == self.broken:
            raise BadInput("the image 7.jpg cannot be read: it is broken")
        return Image.new("RGB", (20, 20))

    def identify(self, positions: Labels) -> bytes:
        return b""


@pytest.mark.parametrize("walk", [lambda f: iter(f.batches(16)), lambda f: f.epoch(16, generator=torch.Generator())])
def test_no_more_than_some_batches_are_decoded_ahead(walk: Callable[..., Any]) -> None:
    source = _Counting(np.zeros(1600, np.int64))
    batches = walk(StreamedFeed(source, np.arange(1600), torch.zeros(1600), PREPROCESS))
    next(batches)
    assert source.asked <= 3 * 16
    next(batches)
    assert source.asked <= 4 * 16


def test_a_broken_image_stops_the_epoch_with_its_name() -> None:
    source = _Counting(np.zeros(64, np.int64), broken=40)
    feed = StreamedFeed(source, np.arange(64), torch.zeros(64), PREPROCESS)
    with pytest.raises(BadInput, match="the image 7.jpg cannot be read"):
        _epoch(feed, 0)


def test_a_fork_decodes_with_threads_of_its_own(feed: StreamedFeed) -> None:
    expected = feed.first(COUNT)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(float(feed.first(COUNT).sum())))
    process.start()
    answered = receiver.poll(30)
    process.kill()
    process.join()
    assert answered
    assert receiver.recv() == float(expected.sum())
