"""Who may see which content. Knowing a digest grants nothing; a reference of the project does."""

from __future__ import annotations

from sqlalchemy import delete, event, select
from sqlalchemy.orm import Session

from layerprune.api.errors import BadInput, NotAllowed, NotFound
from server.auth import Principal
from server.context import StageContext
from server.db import insert_missing
from server.models import Artifact, ArtifactRef, Attempt, Task, Upload

UPLOADED = "upload"


def reference(session: Session, project_id: int, digest: str, kind: str, *, now: int | None = None) -> None:
    """Note why the project keeps an artifact, such as `onnx` or `samples`.

    Raises BadInput unless somebody of the project has uploaded it: otherwise a made-up result could reach another
    project's content.
    """
    first = _first_reference(session, project_id, digest)
    if first is None:
        raise BadInput(
            f"the artifact {digest} was not uploaded",
            field="artifact",
            value=digest,
            remedy="Upload it with PUT /v1/artifacts/sha256/DIGEST before naming it.",
        )
    created_at = first.created_at if now is None else now
    values = {"project_id": project_id, "sha256": digest, "kind": kind, "created_at": created_at}
    insert_missing(session, ArtifactRef, values)


def is_known(session: Session, project_id: int, digest: str) -> bool:
    """Tell whether somebody of the project has uploaded an artifact."""
    return _first_reference(session, project_id, digest) is not None


def forget(ctx: StageContext, project_id: int, digest: str) -> None:
    """Delete content that was only passing through, such as a checkpoint, unless something keeps it.

    The file goes once the transaction has been committed.
    """
    session = ctx.session
    kept = select(ArtifactRef.id).where(ArtifactRef.sha256 == digest, ArtifactRef.kind != UPLOADED)
    foreign = select(ArtifactRef.id).where(ArtifactRef.sha256 == digest, ArtifactRef.project_id != project_id)
    by_users = select(Upload.id).where(Upload.sha256 == digest)
    resumed = select(Attempt.id).where(Attempt.checkpoint == digest)
    if any(session.scalar(one.limit(1)) is not None for one in (kept, foreign, by_users, resumed)):
        return
    session.execute(delete(ArtifactRef).where(ArtifactRef.sha256 == digest))
    session.execute(delete(Artifact).where(Artifact.sha256 == digest))
    event.listen(session, "after_commit", lambda _: ctx.store.remove(digest), once=True)


def note_upload(session: Session, project_id: int, digest: str, size_bytes: int, *, now: int) -> bool:
    """Enter content that was just stored; tell whether the project did not have it before."""
    insert_missing(session, Artifact, {"sha256": digest, "size_bytes": size_bytes, "created_at": now})
    values = {"project_id": project_id, "sha256": digest, "kind": UPLOADED, "created_at": now}
    return insert_missing(session, ArtifactRef, values)


def check_may_upload(session: Session, principal: Principal, *, now: int) -> None:
    """Raise NotAllowed for a worker that works on nothing."""
    if principal.kind == "worker" and not _live_inputs(session, principal, now=now):
        raise NotAllowed(
            "a worker uploads only while it holds a lease",
            remedy="Claim a task first; stop if the lease was lost.",
            code="no_lease",
        )


def get(session: Session, principal: Principal, digest: str, *, now: int, for_upload: bool = False) -> Artifact:
    """Give an artifact that the asker may see: a user the project's, a worker the inputs of its live attempts.

    With `for_upload` a worker that holds a lease may also ask what it need not upload again.
    Raises NotFound otherwise, as if it were not there.
    """
    artifact = session.scalar(
        select(Artifact)
        .join(ArtifactRef, ArtifactRef.sha256 == Artifact.sha256)
        .where(Artifact.sha256 == digest, ArtifactRef.project_id == principal.project_id)
        .limit(1)
    )
    if artifact is not None and principal.kind == "worker":
        inputs = _live_inputs(session, principal, now=now)
        if not (for_upload and inputs) and not any(digest in one for one in inputs):
            artifact = None
    if artifact is None:
        raise NotFound(f"there is no artifact {digest}, or not for this token", field="digest", value=digest)
    return artifact


def _first_reference(session: Session, project_id: int, digest: str) -> ArtifactRef | None:
    return session.scalar(
        select(ArtifactRef).where(ArtifactRef.project_id == project_id, ArtifactRef.sha256 == digest).limit(1)
    )


def _live_inputs(session: Session, principal: Principal, *, now: int) -> list[list[str]]:
    """The inputs of each task that the worker holds a lease on."""
    statement = select(Task.inputs).join(Attempt, Attempt.task_id == Task.id)
    live = (Attempt.worker_id == principal.worker_id, Attempt.state == "leased", Attempt.expires_at > now)
    return list(session.scalars(statement.where(*live)))
