"""The uploaded files that a request names: held by the project, of a bearable size, and what they are said to be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.orm import Session

from layerprune.api.jobs import JobRequest
from layerprune.api.uploads import UploadKind
from server.artifacts import service as artifacts
from server.artifacts import uploads
from server.artifacts.store import LocalStore
from server.config import Settings


@dataclass(frozen=True)
class NamedFile:
    """A file that a request names, and where it does."""

    field: str
    digest: str
    kind: UploadKind


def named_files(request: JobRequest) -> Iterator[NamedFile]:
    """Every uploaded file that the request names."""
    if request.model.onnx is not None:
        yield NamedFile("model.onnx", request.model.onnx, "onnx")
    if request.model.weights is not None:
        yield NamedFile("model.weights", request.model.weights, "weights")
    for i, rival in enumerate(request.rivals):
        if rival.weights is not None:
            yield NamedFile(f"rivals.{i}.weights", rival.weights, "weights")
    if request.dataset.upload is not None:
        yield NamedFile("dataset.upload", request.dataset.upload, "data")


def inspect(session: Session, store: LocalStore, settings: Settings, project_id: int, request: JobRequest) -> None:
    """Look at every file that the request names, before the transaction that stores the job; raises BadInput."""
    for file in named_files(request):
        uploads.inspect(session, store, settings, project_id, file.digest, file.kind, field=file.field)


def keep(session: Session, project_id: int, request: JobRequest, *, now: int) -> None:
    """Note that a job needs the files that its request names."""
    for file in named_files(request):
        artifacts.reference(session, project_id, file.digest, file.kind, now=now)
