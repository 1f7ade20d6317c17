"""/v1/leaderboard, /v1/variants and the comparison of a job."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field

from layerprune.api.comparison import Comparison, LatencyComparison, Matrix
from layerprune.api.leaderboard import Leaderboard, VariantView, Verdict
from layerprune.api.pruning import Family, Method
from server.auth import UserDep
from server.db import ReadSessionDep
from server.jobs import service as jobs

from . import comparison, pairs, service
from .matrix import matrix
from .repository import Filters

router = APIRouter(prefix="/v1", tags=["leaderboard"])
Name = Annotated[str | None, Query(max_length=200)]
FullName = Annotated[str, Query(min_length=1, max_length=200)]
PublicId = Annotated[str, Path(max_length=64)]
Measurements = Annotated[
    list[Annotated[str, Field(max_length=64)]],
    Query(alias="measurement", max_length=pairs.MAX_COMPARED, description="two or more; the first is the reference"),
]


@router.get("/leaderboard")
def get_leaderboard(
    session: ReadSessionDep,
    principal: UserDep,
    model: Name = None,
    dataset: Name = None,
    device: Name = None,
    method: Method | None = None,
    family: Family | None = None,
    criterion: Name = None,
    max_latency_ms: Annotated[float | None, Query(gt=0, le=1e9, allow_inf_nan=False)] = None,
    min_accuracy: Annotated[float | None, Query(ge=0, le=1, description="a fraction, such as 0.95")] = None,
    front: Annotated[bool, Query(description="only rows on the accuracy-latency front")] = False,
    verdict: Verdict | None = None,
    job: Annotated[str | None, Query(max_length=64)] = None,
    comparable_key: Annotated[str | None, Query(max_length=64, description="only these conditions")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
) -> Leaderboard:
    """List measured variants, the fastest first, with intervals, verdict and whether they are on the front."""
    filters = Filters(
        model=model,
        dataset=dataset,
        device=device,
        method=method,
        family=family,
        criterion=criterion,
        max_latency_ms=max_latency_ms,
        min_accuracy=min_accuracy,
        front=front,
        verdict=verdict,
        job=job,
        comparable_key=comparable_key,
    )
    return service.page(session, principal.project_id, filters, limit=limit, after=cursor)


@router.get("/latencies")
def get_latencies(
    request: Request, measurements: Measurements, session: ReadSessionDep, principal: UserDep
) -> LatencyComparison:
    """Compare the latency of measured rows with the first one's; rows of different conditions are refused."""
    return pairs.compare(session, request.app.state.store, principal.project_id, measurements)


@router.get("/variants/{variant_id}")
def get_variant(variant_id: PublicId, session: ReadSessionDep, principal: UserDep) -> VariantView:
    """Show a trained network: its plan, training, accuracies, files and measurements."""
    return service.variant(session, principal.project_id, variant_id)


@router.get("/jobs/{job_id}/comparison")
def get_comparison(request: Request, job_id: PublicId, session: ReadSessionDep, principal: UserDep) -> Comparison:
    """Compare the families of a job at equal measured latency, per device and target, with intervals and in words."""
    return comparison.compare(session, request.app.state.store, jobs.get(session, principal.project_id, job_id))


@router.get("/jobs/{job_id}/matrix")
def get_job_matrix(request: Request, job_id: PublicId, session: ReadSessionDep, principal: UserDep) -> Matrix:
    """Show which family wins on which device, runtime, threads, batch and precision, at each target of a job."""
    job = jobs.get(session, principal.project_id, job_id)
    found = comparison.compare(session, request.app.state.store, job, with_fronts=False)
    return matrix(job.model, job.dataset, [found])


@router.get("/matrix")
def get_matrix(
    request: Request, model: FullName, dataset: FullName, session: ReadSessionDep, principal: UserDep
) -> Matrix:
    """Show the same over the newest jobs of one model and data set, each place against its own base."""
    found = service.jobs_of(session, principal.project_id, model, dataset)
    store = request.app.state.store
    return matrix(model, dataset, [comparison.compare(session, store, job, with_fronts=False) for job in found])
