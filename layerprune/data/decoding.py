"""Files as images: upright, 8 bits, red-green-blue."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from layerprune.api.errors import BadInput

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""What is decoded: nothing that PIL hands to another program, such as PostScript."""
MAX_PIXELS = 80_000_000


def decode(file: Path | BinaryIO, *, name: str) -> Image.Image:
    """Decode an image to RGB, as torchvision's loader does (transparency is dropped), and turn it upright by its EXIF.

    Grey, palette, RGBA and CMYK images are converted; of 16 bits the upper 8 are kept; of several frames the first.
    Raises BadInput, which calls the image by `name`.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _unreadable(name, f"it has {image.width}x{image.height} pixels, {MAX_PIXELS} are the limit")
            ImageOps.exif_transpose(image, in_place=True)
            return _rgb(image, name)
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        said = "it is no image of a known format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise _unreadable(name, said) from error


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I"):
        values = np.asarray(image)
        # PNG and TIFF keep 16 bits; PIL may hold them in 32.
        if values.min() < 0 or values.max() > 65535:
            raise _unreadable(name, f"its values run from {values.min()} to {values.max()}, 16 bits are the limit")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise _unreadable(name, "its values are floating-point numbers")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # else PIL warns
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def _unreadable(name: str, why: str) -> BadInput:
    return BadInput(
        f"the image {name} cannot be read: {why}",
        field="dataset",
        value=name,
        remedy=f"Replace or remove it; {', '.join(FORMATS)} with up to 16 bits are read.",
    )
