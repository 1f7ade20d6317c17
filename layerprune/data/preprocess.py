"""The one way an image becomes the network's input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from layerprune.api.errors import BadInput
from layerprune.api.network import Preprocess

from .source import Pixels

if TYPE_CHECKING:
    from PIL import Image

_MIN_AREA = 0.35
_MAX_ASPECT = 4 / 3


def fit(image: Image.Image, preprocess: Preprocess) -> Pixels:
    """Bring an image to size x size (uint8 H x W x C, C the image's own or the network's one channel).

    With `resize`, the shorter edge is brought to it and the centre cut out, exactly as torchvision's Resize and
    CenterCrop do on PIL images; without, both edges are brought to `size`.
    """
    from PIL import Image

    method, size = Image.Resampling[preprocess.interpolation.upper()], preprocess.size
    image = _with_channels(image, preprocess)
    if preprocess.resize is None:
        image = image if image.size == (size, size) else image.resize((size, size), method)
    else:
        image = _crop(_resize_shorter(image, preprocess.resize, method), size)
    return _pixels(image)


def crop_at_random(image: Image.Image, preprocess: Preprocess, draws: Sequence[float]) -> Pixels:
    """Cut a random box out and bring it to size x size (uint8 H x W x C).

    `draws` are four numbers from 0..1: the box's area, its aspect, and where it lies from the top and from the left.
    """
    from PIL import Image

    area, aspect, top, left = draws
    width, height = image.size
    pixels = width * height * (_MIN_AREA + (1 - _MIN_AREA) * area)
    ratio = _MAX_ASPECT ** (2 * aspect - 1)
    across, down = min(width, math.sqrt(pixels * ratio)), min(height, math.sqrt(pixels / ratio))
    x, y = left * (width - across), top * (height - down)
    method, size = Image.Resampling[preprocess.interpolation.upper()], preprocess.size
    cut = _with_channels(image, preprocess).resize((size, size), method, box=(x, y, x + across, y + down))
    return _pixels(cut)


def check(preprocess: Preprocess) -> None:
    """Raise BadInput unless there is one mean and one deviation per channel."""
    for name, values in (("mean", preprocess.mean), ("std", preprocess.std)):
        if len(values) != preprocess.channels:
            raise BadInput(
                f"preprocess.{name} has {len(values)} values for {preprocess.channels} channels",
                field=f"model.preprocess.{name}",
                value=values,
                remedy="Give one value per channel.",
            )


def normalise(pixels: Tensor, preprocess: Preprocess) -> Tensor:
    """Turn pixels (uint8 N x C x H x W) into the network's input (float32, the network's channels), where they lie.

    Pixels are scaled to 0..1, grey ones repeated to the network's channels, then (x - mean) / std per channel.
    """
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=pixels.device)[:, None, None]
        for values in (preprocess.mean, preprocess.std)
    )
    return (pixels.float() / 255 - mean) / std


def _with_channels(image: Image.Image, preprocess: Preprocess) -> Image.Image:
    return image.convert("L") if preprocess.channels == 1 and image.mode != "L" else image


def _pixels(image: Image.Image) -> Pixels:
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _resize_shorter(image: Image.Image, edge: int, method: Image.Resampling) -> Image.Image:
    width, height = image.size
    short, long = min(width, height), max(width, height)
    longer = int(edge * long / short)
    wanted = (edge, longer) if width <= height else (longer, edge)
    return image if image.size == wanted else image.resize(wanted, method)


def _crop(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return image.crop((left, top, left + size, top + size))
