"""Read files of other tools and keep what they say; see `layerprune.external` for the formats."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.errors import BadInput
from layerprune.api.external import ExternalRow, NewExternal
from layerprune.external import read_foreign
from layerprune.external.reading import MAX_BYTES, Foreign
from server.artifacts import service as artifacts
from server.artifacts.store import LocalStore
from server.db import insert_missing
from server.models import External

MAX_ROWS = 1000


def read(session: Session, store: LocalStore, project_id: int, new: NewExternal) -> tuple[str, Foreign]:
    """Return the format and the content of a file that the project holds; raises BadInput naming what is wrong."""
    if not artifacts.is_known(session, project_id, new.digest) or not store.exists(new.digest):
        raise BadInput(
            f"digest names {new.digest}, which was not uploaded",
            field="digest",
            value=new.digest,
            remedy="Upload the file first: PUT /v1/artifacts/sha256/DIGEST, or let 'layerprune import-timings' do it.",
            code="not_uploaded",
        )
    with store.open(new.digest) as file:
        return read_foreign(file.read(MAX_BYTES + 1), name=new.format)


def enter(session: Session, project_id: int, new: NewExternal, found: tuple[str, Foreign], *, now: int) -> ExternalRow:
    """Keep a row; the same file of the same device and model is kept once."""
    name, foreign = found
    values = {
        "project_id": project_id,
        "sha256": new.digest,
        "format": name,
        **new.model_dump(include={"device", "model", "precision", "batch_size", "note"}),
        **{key: getattr(foreign, key) for key in ("tool", "p50_ns", "p90_ns", "p99_ns", "n_samples", "details")},
        "created_at": now,
    }
    artifacts.reference(session, project_id, new.digest, "external", now=now)
    insert_missing(session, External, values)
    here = (
        External.project_id == project_id,
        External.sha256 == new.digest,
        External.device == new.device,
        External.model == new.model,
    )
    return _view(session.scalars(select(External).where(*here)).one())


def list_rows(
    session: Session, project_id: int, *, device: str | None = None, model: str | None = None
) -> list[ExternalRow]:
    """List rows by model, the fastest first; at most a thousand."""
    statement = select(External).where(External.project_id == project_id)
    if device is not None:
        statement = statement.where(External.device == device)
    if model is not None:
        statement = statement.where(External.model == model)
    ordered = statement.order_by(External.model, External.p50_ns, External.id).limit(MAX_ROWS)
    return [_view(row) for row in session.scalars(ordered)]


def _view(row: External) -> ExternalRow:
    same = ("device", "model", "precision", "batch_size", "note", "tool", "format", "p50_ns", "p90_ns", "p99_ns")
    return ExternalRow(
        id=row.public_id,
        **{name: getattr(row, name) for name in (*same, "n_samples", "details")},
        file=row.sha256,
        imported_at=row.created_at,
    )
