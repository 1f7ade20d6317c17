"""What a worker says about its attempt: heartbeat, result, failure. Every write is fenced.

An attempt may be written only with its number and its lease token, while it holds the lease; that is checked in the
very statement that writes. A report that is sent again gets the stored answer; a result too late is kept as an orphan.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import ColumnElement, update

from layerprune.api.errors import Conflict, LeaseLost, NotFound
from layerprune.api.workers import Accepted, Control, FailureReport, Heartbeat, ResultReport
from server.context import StageContext
from server.db import insert_missing
from server.ids import hash_secret
from server.jobs import stages
from server.models import Attempt, OrphanResult
from server.notify import announce
from server.workers.service import touch

from . import checkpoints, leases, repository
from .events import record


def control(ctx: StageContext, worker_id: int, attempt_id: str, lease: str) -> Control:
    """Say whether the attempt should go on.

    Raises NotFound for another worker's attempt, LeaseLost for another lease's token.
    """
    attempt = _get(ctx, worker_id, attempt_id)
    _check_token(attempt, lease)
    live = attempt.state == "leased" and attempt.expires_at > ctx.now
    left_s = max(0, attempt.expires_at - ctx.now) / 1_000_000 if live else 0
    return Control(cancel=not live, lease_expires_in_s=left_s, next_beat_s=ctx.settings.heartbeat_s)


def heartbeat(ctx: StageContext, worker_id: int, attempt_id: str, lease: str, beat: Heartbeat) -> Control:
    """Renew the lease and store the progress; tells a cancelled attempt to stop.

    Raises NotFound for another worker's attempt, LeaseLost if the lease is no longer this attempt's.
    """
    attempt = _get(ctx, worker_id, attempt_id)
    touch(attempt.worker, now=ctx.now)
    renewed = ctx.session.execute(
        update(Attempt)
        .where(Attempt.id == attempt.id, Attempt.state == "leased", *_fence(ctx, lease, beat.attempt_no))
        .values(heartbeat_at=ctx.now, expires_at=ctx.now + ctx.settings.lease_us)
        .execution_options(synchronize_session=False)
    )
    ctx.session.refresh(attempt)
    if not renewed.rowcount:  # type: ignore[attr-defined]
        _check_token(attempt, lease)
        if attempt.state == "cancelled":
            return Control(cancel=True, lease_expires_in_s=0, next_beat_s=ctx.settings.heartbeat_s)
        raise _lost(attempt)
    task = attempt.task
    checkpoints.keep(ctx, attempt, beat.checkpoint)
    if beat.progress is not None:
        progress = beat.progress.model_dump(mode="json", exclude_none=True)
        if progress != task.progress:
            task.progress = progress
            record(ctx.session, task.job, "progress", now=ctx.now, task=task, data=progress)
    return control(ctx, worker_id, attempt_id, lease)


def complete(ctx: StageContext, worker_id: int, attempt_id: str, lease: str, report: ResultReport) -> Accepted | None:
    """Take a result: end the attempt and its task, store what it says and create what follows, all or nothing.

    Gives None for a result that came too late; it is kept as an orphan, which the caller must commit before it answers
    LeaseLost. Raises BadInput for a result that cannot be right (the attempt keeps its lease, so that the worker can
    report the failure), Conflict for a second, different result, NotFound for another worker's attempt.
    """
    attempt = _get(ctx, worker_id, attempt_id)
    job = repository.lock_job(ctx.session, attempt.task.job_id)
    digest = _digest(report)
    values = {"state": "done", "result_hash": digest, "finished_at": ctx.now}
    if not repository.end_attempt(ctx.session, attempt, *_fence(ctx, lease, report.attempt_no), **values):
        if (answer := _answer_again(attempt, lease, digest)) is not None:
            return answer
        orphan = {"attempt_id": attempt.id, "result_hash": digest, "body": report.result, "received_at": ctx.now}
        insert_missing(ctx.session, OrphanResult, orphan)
        return None
    task = attempt.task
    task.state, task.finished_at = "done", ctx.now
    ctx.session.flush()
    record(ctx.session, job, "task_done", now=ctx.now, task=task, data={"attempt": attempt.public_id})
    announce(ctx.session, "tasks", f"attempt:{attempt_id}")
    stages.on_result(ctx, task, attempt, report.result)
    return Accepted(state=attempt.state)


def fail(ctx: StageContext, worker_id: int, attempt_id: str, lease: str, report: FailureReport) -> Accepted:
    """Take a failure: end the attempt, requeue or fail its task.

    Raises LeaseLost when the attempt no longer holds the lease, Conflict after a different report, NotFound for another
    worker's attempt.
    """
    attempt = _get(ctx, worker_id, attempt_id)
    digest = _digest(report)
    fence = _fence(ctx, lease, report.attempt_no)
    if not leases.lose(ctx, attempt, report.reason, report.message, *fence):
        if (answer := _answer_again(attempt, lease, digest)) is not None:
            return answer
        raise _lost(attempt)
    attempt.result_hash = digest
    return Accepted(state=attempt.state)


def _get(ctx: StageContext, worker_id: int, attempt_id: str) -> Attempt:
    attempt = repository.find_attempt(ctx.session, attempt_id, worker_id=worker_id)
    if attempt is None:
        raise NotFound(f"this worker has no attempt {attempt_id}", value=attempt_id)
    return attempt


def _fence(ctx: StageContext, lease: str, attempt_no: int) -> tuple[ColumnElement[bool], ...]:
    return (
        Attempt.attempt_no == attempt_no,
        Attempt.lease_hash == hash_secret(lease),
        Attempt.expires_at > ctx.now,
    )


def _check_token(attempt: Attempt, lease: str) -> None:
    if attempt.lease_hash != hash_secret(lease):
        raise LeaseLost(f"the lease token is not that of attempt {attempt.public_id}")


def _answer_again(attempt: Attempt, lease: str, digest: str) -> Accepted | None:
    """Give the stored answer to the same report; None if there was none, Conflict if it was another."""
    _check_token(attempt, lease)
    if attempt.result_hash is None:
        return None
    if attempt.result_hash != digest:
        raise Conflict(
            f"attempt {attempt.public_id} was reported on before, and not like this", code="already_reported"
        )
    return Accepted(state=attempt.state)


def _lost(attempt: Attempt) -> LeaseLost:
    state = attempt.reason or ("expired" if attempt.state == "leased" else attempt.state)
    return LeaseLost(f"attempt {attempt.public_id} holds no lease any more: {state}", value=attempt.attempt_no)


def _digest(report: ResultReport | FailureReport) -> str:
    content: dict[str, Any] = report.model_dump(mode="json")
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
