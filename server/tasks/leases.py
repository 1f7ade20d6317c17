"""Leases: claim, requeue, end. Tasks are queued and cancelled in queue.py; what workers report is in reports.py.

A claim raises the task's `attempt_no`, the fencing number, and makes an attempt with a lease that ends unless it is
renewed. The database alone knows who holds what: a restarted server goes on where the old one stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from layerprune.api.jobs import RETRIED, Reason
from layerprune.api.workers import ClaimedTask
from server.context import StageContext
from server.ids import hash_secret, new_token
from server.jobs import stages
from server.models import Attempt, Job, Task, Worker
from server.notify import announce

from . import checkpoints, repository
from .events import record
from .matching import misfit

MAX_ATTEMPTS = 3
"""Failed ones; a worker that is stopped in good order gives its task back as often as it is stopped."""
MAX_KILLED_WORKERS = 2
INFRA_PAUSE_US = 10_000_000
DEADLINE_S: Mapping[str, float] = {
    "score": 24 * 3600,
    "sweep": 4 * 3600,
    "search": 4 * 3600,
    "trial": 12 * 3600,
    "build": 24 * 3600,
    "measure": 12 * 3600,
}
"""How long a child may run before the worker ends it: a bound on what hangs, not an estimate."""


def claim(ctx: StageContext, worker: Worker) -> ClaimedTask | None:
    """Lease the most urgent task that the worker can do; None if there is none, or if its device is busy.

    Whoever calls has ended the expired leases before, in a transaction of its own.
    """
    session = ctx.session
    if worker.device_id is not None:
        live = repository.live_attempts(session, Attempt.device_id == worker.device_id)
        if live:
            return _issue_again(ctx, worker, live[0])
    for task in repository.queued_for(session, worker, now=ctx.now):
        if misfit(worker, role=task.role, device_id=task.device_id, requirements=task.requirements):
            continue
        job = repository.lock_job(session, task.job_id)
        lease = new_token("lease")
        try:
            with session.begin_nested():
                attempt_no = repository.take(session, task)
                if attempt_no is None:
                    continue
                attempt = _lease(ctx, worker, task, attempt_no=attempt_no, lease=lease)
        except IntegrityError:  # another claim for the same device came first; the index allows one live lease
            return None
        session.refresh(task)
        if job.state == "queued":
            job.state = "running"
        data = {"attempt": attempt.public_id, "attempt_no": attempt_no, "worker": worker.name}
        record(session, job, "task_claimed", now=ctx.now, task=task, data=data)
        return _claimed(ctx, attempt, task, lease)
    return None


def expire_leases(ctx: StageContext) -> int:
    """End the leases that ran out and say how many; any process may do it at any time, twice does no harm."""
    expired = repository.live_attempts(ctx.session, Attempt.expires_at <= ctx.now)
    for attempt in expired:
        message = f"worker {attempt.worker.name!r} was silent for {ctx.settings.lease_s:g} s"
        lose(ctx, attempt, "lease_expired", message, Attempt.expires_at <= ctx.now)
    return len(expired)


def end_other_incarnations(ctx: StageContext, worker: Worker) -> None:
    """End the leases of a worker's earlier processes at once: the new one has said that they are gone."""
    earlier = (Attempt.worker_id == worker.id, Attempt.incarnation != worker.incarnation)
    for attempt in repository.live_attempts(ctx.session, *earlier):
        lose(ctx, attempt, "worker_lost", f"worker {worker.name!r} was started anew")


def lose(ctx: StageContext, attempt: Attempt, reason: Reason, message: str, *conditions: Any) -> bool:
    """Fail an attempt that still holds its lease, then requeue or fail its task; tell whether it still held it."""
    job = repository.lock_job(ctx.session, attempt.task.job_id)
    values = {"state": "failed", "reason": reason, "message": message, "finished_at": ctx.now}
    if not repository.end_attempt(ctx.session, attempt, *conditions, **values):
        return False
    task = attempt.task
    data = {"attempt": attempt.public_id, "reason": reason, "message": message}
    announce(ctx.session, f"attempt:{attempt.public_id}")
    if repository.workers_killed(ctx.session, task) >= MAX_KILLED_WORKERS:
        message = f"it took down {MAX_KILLED_WORKERS} different workers; the last time: {message}"
        fail_task(ctx, job, task, "poison", message)
    elif reason in RETRIED and repository.failures(ctx.session, task) < MAX_ATTEMPTS:
        task.state = "queued"
        task.progress = None
        checkpoints.hand_on(ctx, task)
        task.not_before = ctx.now + (INFRA_PAUSE_US if reason == "infra" else 0)
        record(ctx.session, job, "task_requeued", now=ctx.now, task=task, data=data)
        announce(ctx.session, "tasks")
    else:
        fail_task(ctx, job, task, reason, message)
    return True


def fail_task(ctx: StageContext, job: Job, task: Task, reason: Reason, message: str) -> None:
    """End a task for good without a result, and let the job's stages go on from there."""
    task.state, task.reason, task.message, task.finished_at = "failed", reason, message, ctx.now
    ctx.session.flush()
    record(ctx.session, job, "task_failed", now=ctx.now, task=task, data={"reason": reason, "message": message})
    announce(ctx.session, "tasks")
    stages.on_task_end(ctx, task)


def _issue_again(ctx: StageContext, worker: Worker, live: Attempt) -> ClaimedTask | None:
    """Answer a claim again whose first answer was lost: same attempt, new lease token.

    A device has one lease, so a worker that asks although it has one, and never sent a sign of life for it, cannot know
    of it. Without this the task would lie idle until the lease ends.
    """
    if (live.worker_id, live.incarnation) != (worker.id, worker.incarnation) or live.heartbeat_at != live.started_at:
        return None
    lease = new_token("lease")
    changed = ctx.session.execute(
        update(Attempt)
        .where(Attempt.id == live.id, Attempt.state == "leased", Attempt.heartbeat_at == Attempt.started_at)
        .values(lease_hash=hash_secret(lease))
        .execution_options(synchronize_session=False)
    )
    if not changed.rowcount:  # type: ignore[attr-defined]
        return None
    ctx.session.refresh(live)
    return _claimed(ctx, live, live.task, lease)


def _lease(ctx: StageContext, worker: Worker, task: Task, *, attempt_no: int, lease: str) -> Attempt:
    attempt = Attempt(
        task_id=task.id,
        attempt_no=attempt_no,
        worker_id=worker.id,
        incarnation=worker.incarnation,
        device_id=worker.device_id,
        lease_hash=hash_secret(lease),
        started_at=ctx.now,
        heartbeat_at=ctx.now,
        expires_at=ctx.now + ctx.settings.lease_us,
    )
    ctx.session.add(attempt)
    ctx.session.flush()
    return attempt


def _claimed(ctx: StageContext, attempt: Attempt, task: Task, lease: str) -> ClaimedTask:
    return ClaimedTask(
        task_id=task.public_id,
        attempt_id=attempt.public_id,
        attempt_no=attempt.attempt_no,
        lease_token=lease,
        kind=task.kind,
        title=task.title,
        payload=task.payload,
        inputs=task.inputs,
        lease_expires_in_s=(attempt.expires_at - ctx.now) / 1_000_000,
        next_beat_s=ctx.settings.heartbeat_s,
        deadline_s=DEADLINE_S[task.kind],
    )
