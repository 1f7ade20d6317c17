"""Files that a user uploads to name them in jobs: networks, weights, images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .wire import Count, Digest, Wire

UploadKind = Literal["onnx", "weights", "data"]
"""What an upload is for: `model.onnx`, `model.weights` (safetensors) or `dataset.upload` (zip or parquet)."""
SUFFIXES: dict[str, UploadKind] = {".onnx": "onnx", ".safetensors": "weights", ".zip": "data", ".parquet": "data"}
"""By these a client tells what a file is for, where the user does not say."""
FileName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/\\\x00-\x1f]+$")]


class NewUpload(Wire):
    """Content that was stored with PUT, to be entered into the list of uploads."""

    digest: Digest
    kind: UploadKind
    name: FileName


class UploadView(Wire):
    """A file that the project holds; a job names it by its digest."""

    digest: Digest
    kind: UploadKind
    name: str
    size_bytes: Count
    uploaded_at: int = Field(description="microseconds UTC")


class UploadList(Wire):
    uploads: list[UploadView]
