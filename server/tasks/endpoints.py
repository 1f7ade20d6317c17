"""What workers call: claim by long poll, control, heartbeat, result, failure."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from layerprune import faults
from layerprune.api.errors import LeaseLost
from layerprune.api.workers import Accepted, ClaimedTask, Control, FailureReport, Heartbeat, ResultReport
from server.auth import WorkerDep
from server.context import ContextDep, make_context
from server.db import session_scope
from server.jobs import stages
from server.models import Worker
from server.notify import long_poll
from server.workers.service import touch

from . import leases, reports

router = APIRouter(prefix="/v1", tags=["worker"])
Lease = Annotated[str, Header(alias="Layerprune-Lease", max_length=200)]
AttemptId = Annotated[str, Path(max_length=64)]
Wait = Annotated[float, Query(ge=0, le=60, description="seconds to wait for news")]


@router.get("/tasks/claim", responses={204: {"description": "nothing to do yet"}}, response_model=ClaimedTask)
async def claim_task(request: Request, principal: WorkerDep, wait: Wait = 0) -> ClaimedTask | Response:
    """Lease the most urgent task that this worker can do, waiting for one if asked to."""

    def check() -> ClaimedTask | None:
        with session_scope(request.app) as session:
            leases.expire_leases(make_context(request.app, session))
        with session_scope(request.app) as session:
            ctx = make_context(request.app, session)
            worker = session.get_one(Worker, principal.worker_id)
            touch(worker, now=ctx.now)
            return leases.claim(ctx, worker)

    wait_s = min(wait, request.app.state.settings.claim_wait_s)
    task = await long_poll(request, ("tasks",), check, wait_s)
    return Response(status_code=204) if task is None else task


@router.get("/attempts/{attempt_id}/control")
async def control_attempt(
    request: Request, attempt_id: AttemptId, lease: Lease, principal: WorkerDep, wait: Wait = 0
) -> Control:
    """Say whether the attempt should go on; with `wait`, answer as soon as it should stop."""
    worker_id = principal.worker_id or 0

    def look() -> Control:
        with session_scope(request.app) as session:
            return reports.control(make_context(request.app, session), worker_id, attempt_id, lease)

    def check() -> Control | None:
        control = look()
        return control if control.cancel else None

    wait_s = min(wait, request.app.state.settings.claim_wait_s)
    stop = await long_poll(request, (f"attempt:{attempt_id}",), check, wait_s)
    return await run_in_threadpool(look) if stop is None else stop


@router.post("/attempts/{attempt_id}/heartbeat")
def beat(attempt_id: AttemptId, lease: Lease, beat: Heartbeat, ctx: ContextDep, principal: WorkerDep) -> Control:
    """Renew the lease and say how far the task is."""
    return reports.heartbeat(ctx, principal.worker_id or 0, attempt_id, lease, beat)


@router.post("/attempts/{attempt_id}/result")
def report_result(
    request: Request, attempt_id: AttemptId, lease: Lease, report: ResultReport, principal: WorkerDep
) -> Accepted:
    """Report a result; sent again, it gets the same answer."""
    with request.app.state.read_sessions() as session:
        stages.prepare(session, request.app.state.store, attempt_id, report.result)
    with session_scope(request.app) as session:
        ctx = make_context(request.app, session)
        accepted = reports.complete(ctx, principal.worker_id or 0, attempt_id, lease, report)
    faults.point("server.result_committed")
    if accepted is None:
        raise LeaseLost(f"the result of attempt {attempt_id} came after its lease had ended; it does not count")
    return accepted


@router.post("/attempts/{attempt_id}/failure")
def report_failure(
    attempt_id: AttemptId, lease: Lease, report: FailureReport, ctx: ContextDep, principal: WorkerDep
) -> Accepted:
    """Report that the task failed, with a closed reason."""
    return reports.fail(ctx, principal.worker_id or 0, attempt_id, lease, report)
