"""POST /v1/workers."""

from __future__ import annotations

from fastapi import APIRouter

from layerprune.api.workers import WorkerRegistered, WorkerRegistration
from server.auth import RegistrationDep
from server.context import ContextDep

from . import service

router = APIRouter(prefix="/v1", tags=["workers"])


@router.post("/workers", status_code=201)
def register_worker(registration: WorkerRegistration, ctx: ContextDep, principal: RegistrationDep) -> WorkerRegistered:
    """Register a worker, or announce that it was started anew; the token, if any, is shown this once."""
    return service.register(ctx, principal, registration)
