from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from layerprune.api.errors import BadInput
from layerprune.inspection.safetensors_file import TensorInfo, inspect_safetensors


def _file(folder: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "w.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def _entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_the_tensors_of_a_real_file_are_described(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.int64)}, path, metadata={"format": "pt"})
    assert inspect_safetensors(path) == {"a": TensorInfo("F32", (2, 3)), "b": TensorInfo("I64", (4,))}


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_recognised(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(pickle.dumps({"weight": [1.0] * 50}, protocol))
    with pytest.raises(BadInput, match="pickle" if protocol >= 2 else "cut off, or something else"):
        inspect_safetensors(path)


def test_what_torch_saves_is_recognised(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(BadInput, match="a zip archive, as torch.save writes it: a pickle") as caught:
        inspect_safetensors(tmp_path / "w.safetensors")
    assert "layerprune import" in caught.value.remedy


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        ({"a": _entry([2], 0, 8)}, b"1234", "the file has 4 for them: cut off"),
        ({"a": _entry([2], 0, 8)}, b"12345678!", "or added to"),
        ({"a": _entry([1 << 40], 0, 8)}, b"12345678", "another number of bytes"),
        ({"a": _entry([-2, -1], 0, 8)}, b"12345678", "another number of bytes"),
        ({"a": _entry([2], 0, 8), "b": _entry([1], 4, 8)}, b"12345678", "overlap"),
        ({"a": _entry([1], 4, 8)}, b"12345678", "gaps"),
        ({"a": _entry([1], 0, 4, "X99")}, b"1234", "'a' is broken"),
        ({"a": 3}, b"", "'a' is broken"),
        ([1], b"", "no JSON object"),
        (b"{" * 100_000, b"", "no JSON"),
        (b"", b"", "no JSON"),
    ],
)
def test_broken_headers_are_refused(header: object, data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        inspect_safetensors(_file(tmp_path, header, data))
    assert caught.value.code == "weights_mismatch"


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 8, (1 << 30).to_bytes(8, "little") + b"{}"])
def test_a_header_longer_than_the_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="cut off, or something else"):
        inspect_safetensors(path)


def test_a_header_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.write((1 << 34).to_bytes(8, "little"))
        file.truncate(1 << 35)  # sparse: takes no space
    with pytest.raises(BadInput, match=f"{1 << 34} bytes, .* are accepted"):
        inspect_safetensors(path)
