"""Submit, show, cancel and follow jobs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from layerprune.api.catalogue import Catalogue
from layerprune.api.errors import BadInput, Conflict, NotFound
from layerprune.api.jobs import EventList, JobList, JobRequest, JobView
from server.catalogue import service as catalogue
from server.context import StageContext
from server.devices import service as devices
from server.measurements.conditions import canonical
from server.models import Device, Job, JobDevice
from server.tasks import queue as tasks
from server.tasks.events import record

from . import inputs, outcome, repository, stages, views
from .conditions import conditions
from .estimate import estimate
from .validate import KnownDevice, filter_criteria, validate

DAY_US = 86_400 * 1_000_000
MAX_EVENTS = 1000


def submit(ctx: StageContext, project_id: int, request: JobRequest, *, idempotency_key: str | None) -> Job:
    """Check a request, store it as a job and queue its first task.

    The same idempotency key with the same request gives the same job. Raises BadInput for what cannot work, Conflict
    for a key that stood for another request.
    """
    request_hash = hashlib.sha256(canonical(request.model_dump(mode="json")).encode()).hexdigest()
    if known := _same_request(ctx.session, project_id, idempotency_key, request_hash):
        return known
    offered = catalogue.offered(ctx.session, project_id, now=ctx.now)
    rows = devices.list_all(ctx.session, project_id)
    limit = ctx.settings.max_trainings
    chosen = validate(request, offered=offered, devices=_known_devices(ctx, rows), max_trainings=limit)
    names = [device.name for device in chosen]
    request.measure.devices = names
    cost = estimate(
        request,
        filter_criteria=filter_criteria(offered),
        places=sum(len(conditions(request, device.backends)) for device in chosen),
        max_trainings=limit,
        pace=repository.pace(ctx.session, project_id, request.model.label, request.dataset.label),
    )
    job = Job(
        project_id=project_id,
        idempotency_key=idempotency_key,
        request=request.model_dump(mode="json"),
        request_hash=request_hash,
        model=request.model.label,
        dataset=request.dataset.label,
        estimate=cost.model_dump(mode="json"),
        created_at=ctx.now,
        expires_at=ctx.now + round(ctx.settings.job_expiry_days * DAY_US),
    )
    try:
        with ctx.session.begin_nested():
            ctx.session.add(job)
    except IntegrityError:  # the same key came twice at once, and the other was faster
        if known := _same_request(ctx.session, project_id, idempotency_key, request_hash):
            return known
        raise
    ctx.session.add_all(JobDevice(job_id=job.id, device_id=row.id) for row in rows if row.name in names)
    ctx.session.flush()
    inputs.keep(ctx.session, project_id, request, now=ctx.now)
    record(ctx.session, job, "job_created", now=ctx.now)
    stages.start(ctx, job)
    return job


def _same_request(session: Session, project_id: int, key: str | None, request_hash: str) -> Job | None:
    known = repository.find_by_key(session, project_id, key) if key else None
    if known is not None and known.request_hash != request_hash:
        raise Conflict(
            f"the idempotency key {key!r} was used for another request",
            field="Idempotency-Key",
            value=key,
            remedy="Use a new key for a new request.",
            code="idempotency_key_reused",
        )
    return known


def get(session: Session, project_id: int, public_id: str) -> Job:
    """Give a job; raises NotFound."""
    job = repository.find(session, project_id, public_id)
    if job is None:
        raise NotFound(f"there is no job {public_id!r}", field="job", value=public_id)
    return job


def is_overdue(job: Job, *, now: int) -> bool:
    """Whether a job may have waited too long; `outcome.expire` finds out."""
    return job.state in outcome.OPEN and job.expires_at <= now


def list_page(ctx: StageContext, project_id: int, *, limit: int, cursor: str | None, state: str | None) -> JobList:
    """List jobs, the newest first; the cursor is the last job's id."""
    before = None
    if cursor is not None:
        last = repository.find(ctx.session, project_id, cursor)
        if last is None:
            raise BadInput(
                f"the cursor {cursor!r} is not one of this list",
                field="cursor",
                value=cursor,
                remedy="Use next_cursor of the page before, or none for the first page.",
            )
        before = last.id
    found = repository.list_page(ctx.session, project_id, limit=limit + 1, before=before, state=state)
    page = found[:limit]
    return JobList(
        jobs=[view(ctx, job) for job in page], next_cursor=page[-1].public_id if len(found) > limit else None
    )


def view(ctx: StageContext, job: Job) -> JobView:
    """Describe a job as it is now."""
    return views.job_view(ctx.session, job, now=ctx.now, offline_us=ctx.settings.offline_us)


def cancel(ctx: StageContext, project_id: int, public_id: str) -> Job:
    """Cancel a job and what runs of it; again, or after its end, nothing happens."""
    job = get(ctx.session, project_id, public_id)
    tasks.cancel_job(ctx.session, job, ctx.now)
    return job


def list_events(session: Session, job: Job, *, after: int) -> EventList:
    """List a job's history after a sequence number."""
    found = repository.list_events(session, job, after=after, limit=MAX_EVENTS)
    events = [views.event_view(event, task_id) for event, task_id in found]
    return EventList(events=events, next_after=events[-1].seq if events else after)


def _known_devices(ctx: StageContext, rows: Sequence[Device]) -> list[KnownDevice]:
    serving = devices.measuring_workers(ctx.session, rows)
    since = ctx.now - ctx.settings.offline_us
    known = []
    for row in rows:
        server = serving.get(row.id)
        backends = Catalogue.model_validate(server.catalogue).backends if server else None
        known.append(KnownDevice(row.name, server is not None and server.last_seen_at > since, backends))
    return known
