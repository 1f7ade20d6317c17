"""Every kind of image becomes upright red, green and blue; what is none is named."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from layerprune.api.errors import BadInput
from layerprune.data import decoding
from layerprune.data.decoding import decode


def _encoded(image: Image.Image, form: str = "PNG", **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file


def _ramp(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert(mode)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA", "1"])
def test_modes_are_converted_as_torchvisions_loader_does(mode: str) -> None:
    image = _ramp(mode)
    decoded = decode(_encoded(image), name="x")
    assert decoded.mode == "RGB"
    assert np.array_equal(np.asarray(decoded), np.asarray(image.convert("RGB")))


def test_a_palette_with_transparency_is_decoded_without_a_warning() -> None:
    image = _ramp("P")
    decoded = decode(_encoded(image, transparency=bytes(range(256))), name="x")
    assert np.array_equal(np.asarray(decoded), np.asarray(image.convert("RGB")))


def test_the_upper_eight_of_sixteen_bits_are_kept() -> None:
    values = (np.arange(256, dtype=np.uint16) * 256 + 77).reshape(16, 16)
    decoded = np.asarray(decode(_encoded(Image.fromarray(values)), name="x"))
    assert np.array_equal(decoded[:, :, 0], np.asarray(_ramp())[:, :, 0])


def test_printing_colours_are_converted() -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = np.asarray(decode(_encoded(image, "TIFF"), name="x"))[4, 4]
    assert red[0] > 200
    assert red[1:].max() < 60


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (15, 31)), (6, (0, 15)), (8, (31, 0))])
def test_pictures_are_turned_upright(orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("RGB", (32, 16))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.asarray(decode(_encoded(image, exif=exif), name="x"))[:, :, 0]
    assert tuple(int(i) for i in np.unravel_index(pixels.argmax(), pixels.shape)) == corner


def test_the_first_frame_of_several_counts() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    decoded = decode(_encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), name="x")
    assert decoded.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        _encoded(_ramp()).getvalue()[:60],
        _encoded(_ramp(), "JPEG").getvalue()[:-60],
        b"%!PS-Adobe-3.0\n",
    ],
    ids=["empty", "text", "png cut off", "jpeg cut off", "postscript"],
)
def test_a_broken_image_is_named(content: bytes) -> None:
    with pytest.raises(BadInput, match="the image cat/7.jpg cannot be read") as caught:
        decode(io.BytesIO(content), name="cat/7.jpg")
    assert caught.value.value == "cat/7.jpg"


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 255)
    with pytest.raises(BadInput, match="16x16 pixels, 255 are the limit"):
        decode(_encoded(_ramp()), name="x")


def test_an_image_that_pillow_takes_for_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BadInput, match="decompression bomb"):
        decode(_encoded(_ramp()), name="x")


def test_floating_point_values_are_no_picture() -> None:
    with pytest.raises(BadInput, match="floating-point"):
        decode(_encoded(Image.new("F", (8, 8), 0.5), "TIFF"), name="x")
