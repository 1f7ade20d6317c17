"""Files that users upload to name them in jobs: what they are for, how large they may be, and whether they are that."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from layerprune.api.errors import BadInput
from layerprune.api.uploads import NewUpload, UploadKind, UploadList, UploadView
from layerprune.inspection.archive_file import inspect_archive
from layerprune.inspection.limits import OnnxLimits
from layerprune.inspection.onnx_file import inspect_onnx
from layerprune.inspection.safetensors_file import inspect_safetensors
from server.config import Settings
from server.db import insert_missing
from server.models import Upload

from . import service
from .store import LocalStore


def inspect(
    session: Session,
    store: LocalStore,
    settings: Settings,
    project_id: int,
    digest: str,
    kind: UploadKind,
    *,
    field: str = "digest",
) -> None:
    """Check that the project holds the content, and that it is what it is said to be.

    What may be hostile is looked at in a process of its own, which takes up to seconds: do it outside of transactions.
    Raises BadInput naming the field.
    """
    if not service.is_known(session, project_id, digest) or not store.exists(digest):
        raise BadInput(
            f"{field} names {digest}, which was not uploaded",
            field=field,
            value=digest,
            remedy="Upload the file first: PUT /v1/artifacts/sha256/DIGEST, or Client.upload, or let 'layerprune "
            "submit' do it; GET /v1/uploads lists what is there.",
            code="not_uploaded",
        )
    path, limit = store.path(digest), _limit(kind, settings)
    if (size := path.stat().st_size) > limit:
        raise BadInput(
            f"{field} has {size} bytes, the limit for {kind} is {limit}",
            field=field,
            value=size,
            remedy="Use a smaller file, or have the operator raise the limit.",
            code="too_large",
        )
    try:
        _look(kind, path, limit)
    except BadInput as error:
        raise BadInput(error.message, field=field, value=digest, remedy=error.remedy, code=error.code) from error


def enter(session: Session, project_id: int, upload: NewUpload, *, now: int) -> UploadView:
    """Put an upload into the project's list; the name that it came under first stays."""
    values = upload.model_dump(exclude={"digest"}) | {"sha256": upload.digest}
    insert_missing(session, Upload, {**values, "project_id": project_id, "created_at": now})
    here = (Upload.project_id == project_id, Upload.sha256 == upload.digest, Upload.kind == upload.kind)
    return _view(session.scalars(select(Upload).where(*here)).one())


def list_all(session: Session, project_id: int, *, kind: UploadKind | None) -> UploadList:
    """List the project's uploads, the latest first."""
    statement = select(Upload).where(Upload.project_id == project_id).options(joinedload(Upload.artifact))
    if kind is not None:
        statement = statement.where(Upload.kind == kind)
    rows = session.scalars(statement.order_by(Upload.created_at.desc(), Upload.id.desc()))
    return UploadList(uploads=[_view(row) for row in rows])


def _view(row: Upload) -> UploadView:
    return UploadView(
        digest=row.sha256,
        kind=row.kind,
        name=row.name,
        size_bytes=row.artifact.size_bytes,
        uploaded_at=row.created_at,
    )


def _limit(kind: UploadKind, settings: Settings) -> int:
    limits = {"onnx": settings.max_onnx_bytes, "weights": settings.max_weights_bytes, "data": settings.max_data_bytes}
    return limits[kind]


def _look(kind: UploadKind, path: Path, limit: int) -> None:
    if kind == "onnx":
        inspect_onnx(path.read_bytes(), OnnxLimits(max_bytes=limit))
    elif kind == "weights":
        inspect_safetensors(path)
    else:
        found = inspect_archive(path)
        if found.kind == "images" and len(found.images) < 2:
            raise BadInput(
                f"the uploaded images are of {'one class' if found.images else 'no class'}, and two are the least that "
                "can be told apart",
                remedy="Put the images of each class into a folder of its own.",
            )
