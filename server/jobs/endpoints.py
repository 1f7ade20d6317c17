"""/v1/jobs: submit, list, show, cancel and follow pruning jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from starlette.concurrency import run_in_threadpool

from layerprune.api.jobs import EventList, JobList, JobRequest, JobState, JobView
from server.auth import UserDep
from server.context import ContextDep, StageContext, make_context
from server.db import ReadSessionDep, session_scope
from server.notify import long_poll

from . import inputs, outcome, service

router = APIRouter(prefix="/v1", tags=["jobs"])
JobId = Annotated[str, Path(max_length=64)]
IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", max_length=200, description="the same key and request give the same job"),
]


def get_read_context(request: Request, session: ReadSessionDep) -> StageContext:
    """Put together what a question needs: it takes no lock and commits nothing."""
    return make_context(request.app, session)


ReadContextDep = Annotated[StageContext, Depends(get_read_context, scope="function")]


@router.post("/jobs", status_code=201)
def create_job(
    request: JobRequest, http: Request, principal: UserDep, idempotency_key: IdempotencyKey = None
) -> JobView:
    """Submit a pruning job; the answer says how many trainings and about how many minutes it will be."""
    state = http.app.state
    with state.read_sessions() as session:
        inputs.inspect(session, state.store, state.settings, principal.project_id, request)
    with session_scope(http.app) as session:
        ctx = make_context(http.app, session)
        job = service.submit(ctx, principal.project_id, request, idempotency_key=idempotency_key)
        return service.view(ctx, job)


@router.get("/jobs")
def list_jobs(
    ctx: ReadContextDep,
    principal: UserDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    state: JobState | None = None,
) -> JobList:
    """List jobs, the newest first."""
    return service.list_page(ctx, principal.project_id, limit=limit, cursor=cursor, state=state)


@router.get("/jobs/{job_id}")
def get_job(request: Request, job_id: JobId, ctx: ReadContextDep, principal: UserDep) -> JobView:
    """Show a job: state, progress, and every task with its attempts and reasons."""
    if service.is_overdue(service.get(ctx.session, principal.project_id, job_id), now=ctx.now):
        # What is shown does not depend on when the reaper ran.
        with session_scope(request.app) as session:
            outcome.expire(make_context(request.app, session))
        ctx.session.rollback()
    return service.view(ctx, service.get(ctx.session, principal.project_id, job_id))


@router.post("/jobs/{job_id}/cancel")
def cancel_job(job_id: JobId, ctx: ContextDep, principal: UserDep) -> JobView:
    """Cancel a job; what runs of it is stopped. Cancelling twice is the same as once."""
    return service.view(ctx, service.cancel(ctx, principal.project_id, job_id))


@router.get("/jobs/{job_id}/events")
async def list_job_events(
    request: Request,
    job_id: JobId,
    principal: UserDep,
    after: Annotated[int, Query(ge=0)] = 0,
    wait: Annotated[float, Query(ge=0, le=60, description="seconds to wait for an event")] = 0,
) -> EventList:
    """List what happened after event number `after`, waiting for something to happen if asked to."""

    def look() -> EventList:
        with request.app.state.read_sessions() as session:
            job = service.get(session, principal.project_id, job_id)
            return service.list_events(session, job, after=after)

    def check() -> EventList | None:
        found = look()
        return found if found.events else None

    wait_s = min(wait, request.app.state.settings.claim_wait_s)
    found = await long_poll(request, (f"job:{job_id}",), check, wait_s)
    return await run_in_threadpool(look) if found is None else found
