"""GET /v1/models, /v1/datasets, /v1/criteria: what can be asked for now."""

from __future__ import annotations

from fastapi import APIRouter

from layerprune.api.catalogue import CriterionInfo, DatasetInfo, ModelInfo
from server.auth import UserDep
from server.context import ContextDep

from . import service

router = APIRouter(prefix="/v1", tags=["catalogue"])


@router.get("/models")
def list_models(ctx: ContextDep, principal: UserDep) -> list[ModelInfo]:
    """List the networks that can be named in a job."""
    return service.offered(ctx.session, principal.project_id, now=ctx.now).models


@router.get("/datasets")
def list_datasets(ctx: ContextDep, principal: UserDep) -> list[DatasetInfo]:
    """List the data sets that can be named in a job."""
    return service.offered(ctx.session, principal.project_id, now=ctx.now).datasets


@router.get("/criteria")
def list_criteria(ctx: ContextDep, principal: UserDep) -> list[CriterionInfo]:
    """List the criteria of importance, with the paper and equation each follows."""
    return service.offered(ctx.session, principal.project_id, now=ctx.now).criteria
