"""GET and POST /v1/external."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from layerprune.api.external import ExternalList, ExternalRow, NewExternal
from server.auth import UserDep
from server.context import make_context
from server.db import ReadSessionDep, session_scope

from . import service

router = APIRouter(prefix="/v1", tags=["external"])
Name = Annotated[str | None, Query(max_length=200)]


@router.post("/external", status_code=201)
def create_external(new: NewExternal, request: Request, principal: UserDep) -> ExternalRow:
    """Read a stored file of another tool and keep what it says; it is shown as not verified, and never ranked."""
    state = request.app.state
    with state.read_sessions() as session:
        found = service.read(session, state.store, principal.project_id, new)
    with session_scope(request.app) as session:
        now = make_context(request.app, session).now
        return service.enter(session, principal.project_id, new, found, now=now)


@router.get("/external")
def list_external(session: ReadSessionDep, principal: UserDep, device: Name = None, model: Name = None) -> ExternalList:
    """List what other tools measured, by model, the fastest first."""
    return ExternalList(rows=service.list_rows(session, principal.project_id, device=device, model=model))
