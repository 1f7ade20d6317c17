"""Batches in stored order and in random order."""

from __future__ import annotations

import pytest
import torch

from layerprune.api.errors import BadInput
from layerprune.api.network import Preprocess
from layerprune.data.feed import MemoryFeed, mirror, shift

GREY = Preprocess(size=8, channels=1, mean=[0.5], std=[0.25])


def _feed(count: int, preprocess: Preprocess = GREY, channels: int = 1) -> MemoryFeed:
    """Images of one value each: the first is 0, the next 1, and so on, and so are the labels."""
    values = torch.arange(count)
    pixels = values.to(torch.uint8)[:, None, None, None].expand(count, channels, 8, 8)
    return MemoryFeed(pixels, values, preprocess)


def test_pixels_are_scaled_shifted_and_divided() -> None:
    inputs = _feed(256).first(256)
    assert (inputs.shape, inputs.dtype) == ((256, 1, 8, 8), torch.float32)
    assert inputs[[0, 255], 0, 0, 0].tolist() == [-2.0, 2.0]


def test_grey_images_are_repeated_for_a_network_with_three_channels() -> None:
    feed = _feed(256, Preprocess(size=8, channels=3, mean=[0, 0.5, 1], std=[1, 1, 1]))
    assert feed.shape == (3, 8, 8)
    assert feed.first(256)[255, :, 0, 0].tolist() == [1.0, 0.5, 0.0]


def test_colour_pixels_do_not_fit_a_grey_network() -> None:
    with pytest.raises(BadInput, match="images have 3 channels, the network takes 1"):
        _feed(2, channels=3)


def test_batches_keep_the_stored_order_and_can_be_read_again() -> None:
    batches = _feed(7).batches(3)
    for _ in range(2):
        assert [labels.tolist() for _, labels in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [len(images) for images, _ in batches[1:]] == [3, 1]
    assert torch.equal(batches[-1][0], _feed(7).first(7)[6:])


def test_even_batches_differ_by_one_image_at_most() -> None:
    assert [len(labels) for _, labels in _feed(65).batches(64, even=True)] == [65]
    assert [len(labels) for _, labels in _feed(11).batches(3, even=True)] == [4, 4, 3]


def test_an_epoch_shows_every_image_once_with_its_label() -> None:
    batches = list(_feed(65).epoch(16, generator=torch.Generator().manual_seed(0)))
    assert [len(labels) for _, labels in batches] == [17, 16, 16, 16]
    images, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    assert sorted(labels.tolist()) == list(range(65))
    assert labels.tolist() != list(range(65))
    assert torch.equal(images, _feed(65).first(65)[labels])


def test_the_same_generator_gives_the_same_epoch() -> None:
    pixels = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8)
    feed = MemoryFeed(pixels, torch.arange(20), GREY)
    epochs = [
        torch.cat([images for images, _ in feed.epoch(8, generator=torch.Generator().manual_seed(seed), flip=True)])
        for seed in (1, 1, 2)
    ]
    assert torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[0], epochs[2])


def test_a_sample_is_drawn_without_repetition_and_by_its_seed() -> None:
    feed = _feed(50)
    drawn = [feed.sample(20, seed=seed).labels.tolist() for seed in (0, 0, 1)]
    assert len(set(drawn[0])) == 20
    assert drawn[0] == drawn[1] != drawn[2]
    assert sorted(feed.sample(99, seed=0).labels.tolist()) == list(range(50))


def test_shifts_move_by_an_eighth_at_most_and_repeat_the_edge() -> None:
    image = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    feed = MemoryFeed(
        image.expand(200, 1, 8, 8), torch.zeros(200), GREY.model_copy(update={"mean": [0], "std": [1 / 255]})
    )
    ((moved, _),) = feed.epoch(200, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(image.float(), [1] * 4, mode="replicate").to(torch.uint8)
    possible = {padded[0, 0, y : y + 8, x : x + 8].flatten().numpy().tobytes() for y in range(3) for x in range(3)}
    assert {one.flatten().round().to(torch.uint8).numpy().tobytes() for one in moved} == possible


def test_a_shift_moves_each_image_by_its_own_amount() -> None:
    image = torch.arange(9, dtype=torch.uint8).reshape(1, 1, 3, 3)
    moved = shift(image.expand(2, 1, 3, 3), torch.tensor([[1, 0], [0, -1]]))
    assert moved[0, 0].tolist() == [[3, 4, 5], [6, 7, 8], [6, 7, 8]]
    assert moved[1, 0].tolist() == [[0, 0, 1], [3, 3, 4], [6, 6, 7]]


def test_flipping_mirrors_about_half_of_the_images() -> None:
    image = torch.arange(8, dtype=torch.uint8).expand(1, 1, 8, 8)
    feed = MemoryFeed(image.expand(400, 1, 8, 8), torch.zeros(400), GREY)
    ((images, _),) = feed.epoch(400, generator=torch.Generator().manual_seed(0), flip=True)
    assert 160 < int((images[:, 0, 0, 0] > images[:, 0, 0, 7]).sum()) < 240
    assert mirror(image, torch.tensor([True]))[0, 0, 0].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]


def test_an_epoch_goes_on_where_it_stopped() -> None:
    pixels = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8)
    feed = MemoryFeed(pixels, torch.arange(40), GREY)
    whole, rest = (
        list(feed.epoch(8, generator=torch.Generator().manual_seed(1), flip=True, skip=skip)) for skip in (0, 3)
    )
    assert len(rest) == 2
    assert all(
        torch.equal(a, b) for a, b in zip((p for x in whole[3:] for p in x), (p for x in rest for p in x), strict=True)
    )
