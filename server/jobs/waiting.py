"""What a job waits for when no live worker can take its tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from server.measurements.conditions import canonical
from server.models import Job, Task, Worker
from server.tasks.matching import misfit


def live_workers(session: Session, project_id: int, *, now: int, offline_us: int) -> Sequence[Worker]:
    """List the workers that were heard of lately."""
    return session.scalars(
        select(Worker)
        .where(Worker.project_id == project_id, Worker.last_seen_at > now - offline_us)
        .order_by(Worker.name)
    ).all()


def list_tasks(session: Session, job: Job) -> Sequence[Task]:
    """List a job's tasks with their devices."""
    statement = select(Task).where(Task.job_id == job.id).options(joinedload(Task.device)).order_by(Task.id)
    return session.scalars(statement).all()


def unserved(tasks: Sequence[Task], workers: Sequence[Worker]) -> Mapping[int, str]:
    """Say for each queued task, by its internal id, why none of the workers can take it; those one can are left out."""
    reasons: dict[tuple[str, int | None, str], str | None] = {}
    found = {}
    for task in tasks:
        if task.state != "queued":
            continue
        # Many tasks of a job ask for the same, and reading a worker's catalogue takes a while.
        need = (task.role, task.device_id, canonical(task.requirements))
        if need not in reasons:
            reasons[need] = _nobody_for(task, workers)
        if (reason := reasons[need]) is not None:
            found[task.id] = reason
    return found


def waiting_for(tasks: Sequence[Task], reasons: Mapping[int, str]) -> str | None:
    """Say what a whole job waits for; None if something of it runs, or if a live worker can take a task of it."""
    if any(task.state == "leased" for task in tasks):
        return None
    queued = [task.id for task in tasks if task.state == "queued"]
    return reasons[queued[0]] if queued and all(task_id in reasons for task_id in queued) else None


def _nobody_for(task: Task, workers: Sequence[Worker]) -> str | None:
    wanted = f"role {task.role}" + (f" on device {task.device.name}" if task.device else "")
    misfits = {}
    for worker in workers:
        problem = misfit(worker, role=task.role, device_id=task.device_id, requirements=task.requirements)
        if problem is None:
            return None
        if task.role in worker.roles and task.device_id in (None, worker.device_id):
            misfits[worker.name] = problem
    if not misfits:
        return f"no live worker offers {wanted}"
    return f"no live worker can take it: {'; '.join(f'{name} {problem}' for name, problem in misfits.items())}"
