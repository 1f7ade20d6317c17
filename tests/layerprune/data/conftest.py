"""Folders, zip files and parquet files of small generated images."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

MakeFolder = Callable[..., Path]
MakeParquet = Callable[..., Path]
SIZES = ((40, 24), (24, 40), (33, 31))
MODES = ("RGB", "L", "P", "RGBA", "LA", "1")


def picture(number: int, *, size: tuple[int, int] = (40, 24), mode: str = "RGB") -> Image.Image:
    """A picture of noise that its number determines."""
    values = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Make a folder of images: `make_folder({"cat": 10, "train/dog": 3})`, of mixed sizes, modes and formats."""

    def make(counts: Mapping[str, int], name: str = "images") -> Path:
        for folder, count in counts.items():
            (tmp_path / name / folder).mkdir(parents=True)
            for number in range(count):
                image = picture(number, size=SIZES[number % 3], mode=MODES[number % 6])
                image.save(tmp_path / name / folder / f"{number:03}.png")
        return tmp_path / name

    return make


@pytest.fixture
def make_parquet(tmp_path: Path) -> MakeParquet:
    """Write a parquet file of one 16x16 picture per label, with Hugging Face's metadata if `names` are given."""

    def make(
        labels: Iterable[Any],
        name: str = "images.parquet",
        *,
        names: list[str] | None = None,
        images: list[bytes | None] | None = None,
        plain: bool = False,
        columns: tuple[str, str] = ("image", "label"),
    ) -> Path:
        labels = list(labels)
        contents = images or [encoded(picture(number, size=(16, 16))) for number in range(len(labels))]
        column = contents if plain else [{"bytes": content, "path": None} for content in contents]
        table = pa.table({columns[0]: column, columns[1]: labels})
        if names is not None:
            features = {columns[0]: {"_type": "Image"}, columns[1]: {"names": names, "_type": "ClassLabel"}}
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=7)
        return path

    return make


@pytest.fixture(name="picture")
def _picture() -> Callable[..., Image.Image]:
    return picture


@pytest.fixture(name="encoded")
def _encoded() -> Callable[..., bytes]:
    return encoded
