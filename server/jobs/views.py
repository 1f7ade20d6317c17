"""Jobs and tasks as the outside sees them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from layerprune.api.jobs import AttemptView, Estimate, EventView, JobRequest, JobView, Progress, TaskView
from server.models import Attempt, Event, Job, Task

from . import again, progress, waiting


def job_view(session: Session, job: Job, *, now: int, offline_us: int) -> JobView:
    """Describe a job with all its tasks and attempts."""
    tasks = waiting.list_tasks(session, job)
    attempts = session.scalars(
        select(Attempt)
        .join(Task, Attempt.task_id == Task.id)
        .where(Task.job_id == job.id)
        .options(joinedload(Attempt.worker))
        .order_by(Attempt.id)
    ).all()
    by_task: dict[int, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        by_task[attempt.task_id].append(attempt)
    workers = waiting.live_workers(session, job.project_id, now=now, offline_us=offline_us)
    unserved = waiting.unserved(tasks, workers)
    open_job = job.state in ("queued", "running")
    return JobView(
        id=job.public_id,
        state=job.state,
        reason=job.reason,
        message=job.message,
        request=JobRequest.model_validate(job.request),
        estimate=Estimate.model_validate(job.estimate),
        created_at=job.created_at,
        finished_at=job.finished_at,
        progress=progress.fraction(job, tasks),
        seconds_left=progress.seconds_left(job, tasks, attempts) if open_job else None,
        waiting_for=waiting.waiting_for(tasks, unserved) if open_job else None,
        tasks=_task_views(tasks, by_task, unserved),
        notes=job.notes,
        seconds=_seconds(attempts),
    )


def _task_views(
    tasks: Sequence[Task], attempts: Mapping[int, Sequence[Attempt]], unserved: Mapping[int, str]
) -> list[TaskView]:
    by_key = {(task.kind, task.key): task.public_id for task in tasks}
    views = []
    for task in tasks:
        view = task_view(task, attempts.get(task.id, ()), unserved.get(task.id))
        if again.is_repetition(task):
            view.repeats = by_key[task.kind, task.key.removesuffix(again.SUFFIX)]
        views.append(view)
    return views


def task_view(task: Task, attempts: Sequence[Attempt], waiting_for: str | None) -> TaskView:
    """Describe a task; `waiting_for` says why no live worker can take it."""
    return TaskView(
        id=task.public_id,
        kind=task.kind,
        title=task.title,
        state=task.state,
        waiting_for=waiting_for,
        reason=task.reason,
        message=task.message,
        device=task.device.name if task.device else None,
        progress=Progress.model_validate(task.progress) if task.progress else None,
        attempts=[_attempt_view(attempt) for attempt in attempts],
    )


def event_view(event: Event, task_id: str | None) -> EventView:
    """Describe one step of a job's history."""
    return EventView(seq=event.id, at=event.at, task=task_id, kind=event.kind, data=event.data)


def _attempt_view(attempt: Attempt) -> AttemptView:
    return AttemptView(
        id=attempt.public_id,
        attempt_no=attempt.attempt_no,
        state=attempt.state,
        worker=attempt.worker.name,
        started_at=attempt.started_at,
        finished_at=attempt.finished_at,
        reason=attempt.reason,
        message=attempt.message,
    )


def _seconds(attempts: Sequence[Attempt]) -> Mapping[str, float]:
    """Where the time went, by phase, over all tasks whose result was taken."""
    total: dict[str, float] = defaultdict(float)
    for attempt in attempts:
        for phase, seconds in attempt.seconds.items():
            total[phase] += seconds
    return {phase: round(seconds, 3) for phase, seconds in sorted(total.items())}
