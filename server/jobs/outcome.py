"""How a job ends: done, failed for a reason, or expired because nobody can serve it."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.context import StageContext
from server.models import Candidate, Device, Event, Job, JobDevice, Measurement, Task, Variant
from server.tasks import queue as tasks
from server.tasks.events import record

from . import again, waiting

OPEN = ("queued", "running")


def fail(session: Session, job: Job, reason: str, message: str, *, now: int) -> None:
    """End a job without success; what is still queued of it is cancelled."""
    job.state, job.reason, job.message, job.finished_at = "failed", reason, message, now
    tasks.cancel_tasks(session, job, now)
    record(session, job, "job_failed", now=now, data={"reason": reason, "message": message})


def decide(session: Session, job: Job, *, now: int) -> None:
    """End a job whose measurements have all ended.

    It is done if the base and at least one variant of every method were measured on every device and compute what they
    should; a method none of whose plans reaches a target was left out by the choice of plans and stands in the notes.
    """
    missing = [
        f"no {what} was measured on {device.name}"
        for device in session.scalars(
            select(Device).join(JobDevice, JobDevice.device_id == Device.id).where(JobDevice.job_id == job.id)
        )
        for what in _unmeasured(session, job, device)
    ]
    if not missing:
        job.state, job.finished_at = "done", now
        record(session, job, "job_done", now=now)
        return
    failed = select(Task).where(Task.job_id == job.id, Task.state == "failed").order_by(Task.id.desc()).limit(1)
    last = session.scalar(failed)
    # Without a failed task everything was measured, and some of it computes something else.
    fail(session, job, (last and last.reason) or "output_mismatch", "; ".join(missing), now=now)


def expire(ctx: StageContext) -> int:
    """End the jobs for which nobody did or could do anything in all the time they had, and say how many.

    They have failed, unless all they waited for was to have a measurement repeated.

    Idempotent; called by the reaper and before a job is shown.
    """
    overdue = ctx.session.scalars(select(Job).where(Job.state.in_(OPEN), Job.expires_at <= ctx.now).order_by(Job.id))
    expired = 0
    for job in overdue.all():
        last = ctx.session.scalar(select(func.max(Event.at)).where(Event.job_id == job.id)) or job.created_at
        if last + (job.expires_at - job.created_at) > ctx.now:
            continue
        found = waiting.list_tasks(ctx.session, job)
        workers = waiting.live_workers(ctx.session, job.project_id, now=ctx.now, offline_us=ctx.settings.offline_us)
        reason = waiting.waiting_for(found, waiting.unserved(found, workers))
        if reason and all(again.is_repetition(task) for task in found if task.state in ("queued", "leased")):
            # Everything was measured once; nobody is there to repeat it.
            job.notes = [*job.notes, f"not measured again: {reason}"]
            tasks.cancel_tasks(ctx.session, job, ctx.now)
            decide(ctx.session, job, now=ctx.now)
            expired += 1
        elif reason:
            fail(ctx.session, job, "no_capable_worker", f"waited too long: {reason}", now=ctx.now)
            expired += 1
    return expired


def _unmeasured(session: Session, job: Job, device: Device) -> list[str]:
    """What had to be measured on a device and was not: the base, or a method."""
    rows = (
        select(Measurement.role, Variant.family)
        .join(Variant, Measurement.variant_id == Variant.id)
        .where(Measurement.job_id == job.id, Measurement.device_id == device.id, Measurement.verdict != "invalid")
        .distinct()
    )
    method_of = {"filter_aligned": "filter"}
    measured = {
        "base" if role != "variant" else method_of.get(family, family) for role, family in session.execute(rows)
    }
    methods = select(Candidate.method).where(Candidate.job_id == job.id, Candidate.selected).distinct()
    names = {
        "base": "base",
        "layer": "layer-pruned variant",
        "filter": "filter-pruned variant",
        "hybrid": "hybrid variant",
    }
    return [names[what] for what in ("base", *sorted(session.scalars(methods))) if what not in measured]
