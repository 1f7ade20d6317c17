"""Parquet files as Hugging Face writes them: a column of encoded images and one of labels."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.inspection.layout import PARTS, splits_by_name

from .decoding import decode
from .own import assemble
from .source import Dataset, Labels

if TYPE_CHECKING:
    from PIL import Image

_ROWS = 256
_DIGEST = 16
MAX_CLASSES = 65536
"""As many as the evaluation pack can number."""


class EncodedCopy:
    """Bytes one after the other in an unnamed temporary file, read from anywhere by several threads."""

    def __init__(self, folder: Path | None) -> None:
        self._descriptor, path = tempfile.mkstemp(dir=folder)
        os.unlink(path)
        weakref.finalize(self, os.close, self._descriptor)

    def append(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def read(self, start: int, end: int) -> bytes:
        return os.pread(self._descriptor, end - start, start)


@dataclass(frozen=True)
class ParquetSource:
    """The images of some files, copied still encoded.

    Parquet can only be read a group of rows at a time, training wants one image after another from anywhere. The copy
    takes as much disk as the files, and no memory to speak of. `starts` says at which position each file begins.
    """

    copy: EncodedCopy
    offsets: Labels
    labels: Labels
    digests: NDArray[np.void]
    starts: tuple[tuple[int, str], ...]

    @property
    def channels(self) -> Literal[1, 3]:
        return 3

    def image(self, position: int) -> Image.Image:
        content = self.copy.read(int(self.offsets[position]), int(self.offsets[position + 1]))
        start, file = next((start, file) for start, file in reversed(self.starts) if start <= position)
        return decode(io.BytesIO(content), name=f"in row {position - start} of {file}")

    def identify(self, positions: Labels) -> bytes:
        """Return the digests of the encoded images."""
        return self.digests[positions].tobytes()


def find(place: Path) -> list[Path]:
    """List the parquet files at a path: itself, in the folder, or one folder deeper."""
    if place.is_file():
        with place.open("rb") as file:
            return [place] if file.read(4) == b"PAR1" else []
    return sorted([*place.glob("*.parquet"), *place.glob("*/*.parquet")])


def load(spec: DatasetSpec, files: Sequence[Path], *, folder: Path | None) -> Dataset:
    """Load parquet files; those named test... or val... are what they say, all others serve training.

    Classes are named by the label column's ClassLabel feature if there is one, else by the labels themselves: numbers
    from 0 on, or sorted texts. Raises BadInput.
    """
    groups = _by_split(files)
    classes, index = _classes(spec, groups["train"])
    sources = {part: _read(spec, members, classes, index, folder) for part, members in groups.items()}
    return assemble(spec, classes, sources)


def _by_split(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Group files by the first word of their names, as in train-00000-of-00005.parquet, else by their folders."""
    words = {path: word if (word := _first_word(path)).lower() in PARTS else path.parent.name for path in files}
    parts = splits_by_name(words.values())
    if not parts:
        return {"train": list(files)}
    strange = next((path.name for path in files if words[path] not in parts.values()), None)
    if strange is not None:
        raise BadInput(
            f"{strange!r} says by its name neither train nor val nor test, other files do",
            field="dataset",
            value=strange,
            remedy="Name every parquet file by its part, such as train-0.parquet.",
        )
    return {part: [path for path in files if words[path] == word] for part, word in parts.items()}


def _first_word(path: Path) -> str:
    return re.split("[-_.]", path.name)[0]


def _classes(spec: DatasetSpec, files: Sequence[Path]) -> tuple[tuple[str, ...], dict[Any, int]]:
    """Return the names of the classes, and the number of each label that occurs or may occur."""
    with _open(files[0]) as first:
        names = _class_names(first.schema_arrow, spec.label_column)
    if names is not None:
        return tuple(names), {label: label for label in range(len(names))}
    found: set[Any] = set()
    for path in files:
        with _open(path) as file:
            _check_columns(spec, path, file.schema_arrow)
            for batch in file.iter_batches(columns=[spec.label_column]):
                found.update(pc.unique(batch.column(0)).to_pylist())
        if len(found) > MAX_CLASSES:
            raise _bad(f"there are more than {MAX_CLASSES} labels", len(found), "Name the column with the classes.")
    ordered = sorted(found - {None})
    return tuple(map(str, ordered)), {label: number for number, label in enumerate(ordered)}


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Look for the names of a ClassLabel feature in the metadata that Hugging Face's `datasets` writes."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = features[column]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if is_list and len(set(names)) == len(names) else None


def _check_columns(spec: DatasetSpec, path: Path, schema: pa.Schema) -> None:
    for field, column in (("image_column", spec.image_column), ("label_column", spec.label_column)):
        if column not in schema.names:
            raise BadInput(
                f"{path.name} has no column {column!r}; it has {', '.join(schema.names)}",
                field=f"dataset.{field}",
                value=column,
                remedy=f"Give {field}.",
            )
    image, label = schema.field(spec.image_column).type, schema.field(spec.label_column).type
    encoded = image.field("bytes").type if pa.types.is_struct(image) and image.get_field_index("bytes") >= 0 else image
    if not (pa.types.is_binary(encoded) or pa.types.is_large_binary(encoded)):
        remedy = "Store encoded images (PNG, JPEG, ...) as binary, or as a struct with the binary field 'bytes'."
        raise _bad(f"the column {spec.image_column!r} of {path.name} holds {image}, not images", str(image), remedy)
    if not (pa.types.is_integer(label) or pa.types.is_string(label) or pa.types.is_large_string(label)):
        remedy = "Store labels as integers or texts."
        raise _bad(f"the column {spec.label_column!r} of {path.name} holds {label}, not labels", str(label), remedy)


def _read(
    spec: DatasetSpec, files: Sequence[Path], classes: Sequence[str], index: Mapping[Any, int], folder: Path | None
) -> ParquetSource:
    copy = EncodedCopy(folder)
    offsets, digests = [0], bytearray()
    labels: list[int] = []
    starts: list[tuple[int, str]] = []
    for path in files:
        starts.append((len(labels), path.name))
        for image, label in _rows(spec, path):
            row = len(labels) - starts[-1][0]
            if image is None or label is None:
                what = "image" if image is None else "label"
                raise _bad(f"row {row} of {path.name} has no {what}", None, "Fill it in or leave the row out.")
            if label not in index:
                known = (
                    f"there are {len(classes)} classes, {classes[0]!r} to {classes[-1]!r}" if classes else "no class"
                )
                remedy = "Correct the labels, or the names of the classes in the file's metadata."
                raise _bad(f"the label {label!r} in row {row} of {path.name} is out of range: {known}", label, remedy)
            copy.append(image)
            offsets.append(offsets[-1] + len(image))
            labels.append(index[label])
            digests += hashlib.blake2b(image, digest_size=_DIGEST).digest()
    return ParquetSource(
        copy,
        np.array(offsets, np.int64),
        np.array(labels, np.int64),
        np.frombuffer(bytes(digests), f"V{_DIGEST}"),
        tuple(starts),
    )


def _rows(spec: DatasetSpec, path: Path) -> Iterator[tuple[bytes | None, Any]]:
    with _open(path) as file:
        _check_columns(spec, path, file.schema_arrow)
        is_struct = pa.types.is_struct(file.schema_arrow.field(spec.image_column).type)
        column = f"{spec.image_column}.bytes" if is_struct else spec.image_column
        try:
            for batch in file.iter_batches(_ROWS, columns=[column, spec.label_column]):
                images = batch.column(spec.image_column)
                encoded = pc.struct_field(images, "bytes") if is_struct else images
                yield from zip(encoded.to_pylist(), batch.column(spec.label_column).to_pylist(), strict=True)
        except (pa.ArrowException, OSError) as error:
            raise _broken(path, error) from error


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> BadInput:
    return _bad(f"{path.name} cannot be read as parquet: {error}", path.name, "Write the file anew.")


def _bad(message: str, value: object, remedy: str) -> BadInput:
    return BadInput(message, field="dataset", value=value, remedy=remedy)
