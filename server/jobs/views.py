"""Jobs and tasks as the outside sees them, with progress and the time that is left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from layerprune.api.jobs import AttemptView, Estimate, EventView, JobRequest, JobView, Progress, TaskView
from server.models import Attempt, Event, Job, Task

from . import waiting

_SHARES = {"score": 0.25, "sweep": 0.1, "build": 0.45, "measure": 0.2}
"""How much of a job each stage counts for in its progress."""
_OPEN = ("queued", "leased")


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
        progress=_progress(job, tasks),
        seconds_left=_seconds_left(job, tasks, attempts) if open_job else None,
        waiting_for=waiting.waiting_for(tasks, unserved) if open_job else None,
        tasks=[task_view(task, by_task[task.id], unserved.get(task.id)) for task in tasks],
        notes=job.notes,
        seconds=_seconds(attempts),
    )


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


def _progress(job: Job, tasks: Sequence[Task]) -> float:
    """Between 0 and 1, by stages; a stage that has not begun counts nothing."""
    if job.state == "done":
        return 1.0
    kinds = [kind for kind in _SHARES if kind != "sweep" or not job.request["pruning"].get("amounts")]
    total = sum(_SHARES[kind] for kind in kinds)
    done = 0.0
    for kind in kinds:
        own = [task for task in tasks if task.kind == kind]
        if own:
            done += _SHARES[kind] * sum(_fraction(task) for task in own) / len(own)
    return min(1.0, done / total)


def _fraction(task: Task) -> float:
    if task.state not in _OPEN:
        return float(task.state == "done")
    return float((task.progress or {}).get("fraction") or 0.0)


def _seconds_left(job: Job, tasks: Sequence[Task], attempts: Sequence[Attempt]) -> float:
    """The time that is left, as if one worker did one thing after the other.

    A step takes as long as the job's finished steps of that kind took, or else its share of the estimate.
    """
    total_s = float(job.estimate["minutes"]) * 60
    places = sum(task.kind == "sweep" for task in tasks) or 1
    builds = sum(task.kind == "build" for task in tasks) or max(1, int(job.estimate["trainings"]))
    counts = {"score": 1, "sweep": places, "build": builds, "measure": places}
    if job.request["pruning"].get("amounts"):
        del counts["sweep"]
    expected = {kind: total_s * _SHARES[kind] / count for kind, count in counts.items()}
    kinds = {task.id: task.kind for task in tasks}
    for kind in counts:
        took = [
            (attempt.finished_at - attempt.started_at) / 1e6
            for attempt in attempts
            if attempt.state == "done" and attempt.finished_at and kinds[attempt.task_id] == kind
        ]
        if took:
            expected[kind] = median(took)
    left = 0.0
    for kind, count in counts.items():
        own = [task for task in tasks if task.kind == kind]
        left += sum(_task_left(task, expected[kind]) for task in own) if own else count * expected[kind]
    return round(left, 1)


def _task_left(task: Task, expected_s: float) -> float:
    if task.state not in _OPEN:
        return 0.0
    reported = (task.progress or {}).get("seconds_left")
    return expected_s * (1 - _fraction(task)) if reported is None else float(reported)


def _seconds(attempts: Sequence[Attempt]) -> Mapping[str, float]:
    """Where the time went, by phase, over all tasks whose result was taken."""
    total: dict[str, float] = defaultdict(float)
    for attempt in attempts:
        for phase, seconds in attempt.seconds.items():
            total[phase] += seconds
    return {phase: round(seconds, 3) for phase, seconds in sorted(total.items())}
