"""Read the header of a safetensors file, and recognise what is sent in its place.

Format: 8 bytes with the header's length (little-endian), the header as JSON (name -> dtype, shape, data_offsets), then
the tensors' bytes without gaps: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerprune.api.errors import BadInput

_MAX_HEADER_BYTES = 16 << 20
"""A header of the largest networks takes less than 1 MiB; the format itself allows 100 MB."""
_MAX_TENSORS = 100_000
_ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
_OTHERS = (
    (b"PK\x03\x04", "a zip archive, as torch.save writes it: a pickle, which can run code when it is loaded"),
    (b"\x80\x02", "a pickle, which can run code when it is loaded"),
    (b"\x80\x03", "a pickle, which can run code when it is loaded"),
    (b"\x80\x04", "a pickle, which can run code when it is loaded"),
    (b"\x80\x05", "a pickle, which can run code when it is loaded"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x08", "probably an ONNX file"),
)


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of the file."""

    dtype: str
    shape: tuple[int, ...]


def inspect_safetensors(path: Path) -> dict[str, TensorInfo]:
    """Return the tensors by name; their bytes are not read. Raises BadInput with the code "weights_mismatch"."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        for magic, what in _OTHERS:
            # The length of a header may begin with any byte, but not if it is read as a number that fits the file.
            if start.startswith(magic) and int.from_bytes(start, "little") > size:
                raise _refusal(f"this is {what}, not safetensors")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8:
            raise _refusal(
                f"the header should take {length} bytes, the whole file has {size}: cut off, or something else"
            )
        if length > _MAX_HEADER_BYTES:
            raise _refusal(f"the header takes {length} bytes, {_MAX_HEADER_BYTES} are accepted")
        header = _parse(file.read(length))
    if len(header) > _MAX_TENSORS:
        raise _refusal(f"the file names {len(header)} tensors, {_MAX_TENSORS} are accepted")
    return _tensors(header, size - 8 - length)


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refusal("the header is no JSON") from error
    if not isinstance(header, dict):
        raise _refusal("the header is no JSON object")
    header.pop("__metadata__", None)
    return header


def _tensors(header: dict[str, Any], data_bytes: int) -> dict[str, TensorInfo]:
    found = {}
    spans = []
    for name, entry in header.items():
        try:
            dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
            whole = all(type(number) is int and number >= 0 for number in (*shape, start, end))
            fits = whole and end - start == math.prod(shape) * _ITEM_BYTES[dtype]
        except (KeyError, TypeError, ValueError) as error:
            raise _refusal(f"the header's entry for {name!r} is broken") from error
        if not fits:
            raise _refusal(f"{name!r} takes another number of bytes than its shape and type say")
        found[name] = TensorInfo(dtype, shape)
        spans.append((start, end))
    edge = 0
    for start, end in sorted(spans):
        if start != edge:
            raise _refusal("the tensors overlap or leave gaps")
        edge = end
    if edge != data_bytes:
        raise _refusal(f"the tensors take {edge} bytes, the file has {data_bytes} for them: cut off, or added to")
    return found


def _refusal(message: str) -> BadInput:
    return BadInput(
        f"the weights cannot be read: {message}",
        field="model.weights",
        code="weights_mismatch",
        remedy="Turn a training checkpoint into safetensors on your own machine: layerprune import CHECKPOINT --help",
    )
