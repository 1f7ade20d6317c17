"""PUT, HEAD and GET /v1/artifacts/sha256/{digest}: streamed, verified, never changed; and /v1/uploads."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from layerprune.api.errors import Unavailable
from layerprune.api.uploads import NewUpload, UploadKind, UploadList, UploadView
from server.auth import Principal, UserDep, UserOrWorkerDep
from server.context import ContextDep, make_context
from server.db import ReadSessionDep, session_scope

from . import service, uploads
from .store import Incoming

router = APIRouter(prefix="/v1", tags=["artifacts"])
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the content, in lower-case hex")]
PIECE_BYTES = 1 << 20


@router.put(
    "/artifacts/sha256/{digest}",
    status_code=201,
    response_class=Response,
    responses={200: {"description": "was here before"}},
)
async def put_artifact(request: Request, digest: Digest, principal: UserOrWorkerDep) -> Response:
    """Store content under its digest; a worker needs a live lease."""
    await run_in_threadpool(_check, request, principal)
    with request.app.state.store.receive(digest) as incoming:
        try:
            await _write_all(request, incoming)
        except ClientDisconnect as error:
            raise Unavailable("the upload broke off", remedy="Send it again.") from error
        await run_in_threadpool(incoming.keep)
        is_new = await run_in_threadpool(_note, request, principal, digest, incoming.size_bytes)
    return Response(status_code=201 if is_new else 200, headers=_headers(digest))


@router.head("/artifacts/sha256/{digest}", response_class=Response)
def head_artifact(digest: Digest, ctx: ContextDep, principal: UserOrWorkerDep) -> Response:
    """Say whether content is here, so that it need not be sent again."""
    artifact = service.get(ctx.session, principal, digest, now=ctx.now, for_upload=True)
    return Response(headers=_headers(digest) | {"Content-Length": str(artifact.size_bytes)})


@router.get("/artifacts/sha256/{digest}", response_class=FileResponse)
def get_artifact(request: Request, digest: Digest, ctx: ContextDep, principal: UserOrWorkerDep) -> Response:
    """Download content."""
    service.get(ctx.session, principal, digest, now=ctx.now)
    headers = _headers(digest)
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    ctx.store.open(digest).close()
    return FileResponse(ctx.store.path(digest), media_type="application/octet-stream", headers=headers)


@router.post("/uploads", status_code=201)
def create_upload(upload: NewUpload, request: Request, principal: UserDep) -> UploadView:
    """Enter stored content into the list of uploads, unless it is not what it is said to be."""
    state = request.app.state
    with state.read_sessions() as session:
        uploads.inspect(session, state.store, state.settings, principal.project_id, upload.digest, upload.kind)
    with session_scope(request.app) as session:
        now = make_context(request.app, session).now
        return uploads.enter(session, principal.project_id, upload, now=now)


@router.get("/uploads")
def list_uploads(
    session: ReadSessionDep, principal: UserDep, kind: Annotated[UploadKind | None, Query()] = None
) -> UploadList:
    """List the files that were uploaded to be named in jobs, the latest first."""
    return uploads.list_all(session, principal.project_id, kind=kind)


async def _write_all(request: Request, incoming: Incoming) -> None:
    piece = bytearray()
    async for part in request.stream():
        piece += part
        if len(piece) >= PIECE_BYTES:
            await run_in_threadpool(incoming.write, bytes(piece))
            piece.clear()
    await run_in_threadpool(incoming.write, bytes(piece))


def _headers(digest: str) -> dict[str, str]:
    return {"ETag": f'"{digest}"', "Cache-Control": "private, max-age=31536000, immutable"}


def _check(request: Request, principal: Principal) -> None:
    with session_scope(request.app) as session:
        service.check_may_upload(session, principal, now=make_context(request.app, session).now)


def _note(request: Request, principal: Principal, digest: str, size_bytes: int) -> bool:
    with session_scope(request.app) as session:
        now = make_context(request.app, session).now
        return service.note_upload(session, principal.project_id, digest, size_bytes, now=now)
