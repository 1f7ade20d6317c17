"""Images become inputs exactly as torchvision's transforms on PIL images make them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from layerprune.api.network import Preprocess
from layerprune.data.preprocess import crop_at_random, fit, normalise

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def _picture(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize(("size", "resize"), [(32, 37), (32, 32), (33, 40), (64, 73)])
@pytest.mark.parametrize("shape", [(97, 41), (41, 97), (37, 37), (20, 31), (301, 40), (64, 73)])
def test_resize_and_crop_equal_torchvisions_bit_by_bit(
    shape: tuple[int, int], size: int, resize: int, interpolation: str
) -> None:
    image = _picture(*shape)
    mode = transforms.InterpolationMode(interpolation)
    theirs = transforms.Compose(
        [
            transforms.Resize(resize, interpolation=mode, antialias=True),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    preprocess = Preprocess(size=size, resize=resize, interpolation=interpolation, mean=MEAN, std=STD)
    pixels = torch.from_numpy(fit(image, preprocess).transpose(2, 0, 1)[None].copy())
    assert torch.equal(normalise(pixels, preprocess)[0], theirs(image))


def test_without_a_resize_both_edges_are_brought_to_the_size() -> None:
    image = _picture(50, 30)
    preprocess = Preprocess(size=16, mean=MEAN, std=STD)
    assert np.array_equal(fit(image, preprocess), np.asarray(transforms.Resize((16, 16))(image)))


def test_a_network_with_one_channel_sees_colours_in_grey() -> None:
    preprocess = Preprocess(size=8, channels=1, mean=[0.5], std=[0.5])
    image = _picture(8, 8)
    assert np.array_equal(fit(image, preprocess)[:, :, 0], np.asarray(image.convert("L")))


def test_a_random_crop_of_everything_is_a_plain_resize() -> None:
    image = _picture(40, 40)
    preprocess = Preprocess(size=16, mean=MEAN, std=STD)
    whole = crop_at_random(image, preprocess, (1.0, 0.5, 0.3, 0.8))
    assert np.array_equal(whole, np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR)))


@pytest.mark.parametrize("draws", [(0, 0, 0, 0), (0, 1, 1, 1), (0.9, 0, 1, 0), (1, 1, 0, 1), (0.5, 0.5, 0.5, 0.5)])
def test_a_random_crop_lies_inside_the_image(draws: tuple[float, ...]) -> None:
    # Whatever lies outside would be black.
    image = Image.new("RGB", (57, 23), (200, 200, 200))
    assert (crop_at_random(image, Preprocess(size=16, mean=MEAN, std=STD), draws) == 200).all()
