"""How the networks of a job learn: from what was built, and from the progress of what is being built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.training import EpochRecord
from server.models import Candidate, Event, Job, Task, Variant

from .figures import Curve


def of_job(session: Session, job: Job) -> list[Curve]:
    """Return the curve of every network of a job, finished ones first."""
    variants = session.scalars(select(Variant).where(Variant.job_id == job.id).order_by(Variant.id))
    finished = [
        of_network(variant.label, variant.family, [EpochRecord.model_validate(record) for record in variant.curve])
        for variant in variants
        if variant.curve
    ]
    return finished + _running(session, job)


def of_network(label: str, family: str, records: Sequence[EpochRecord]) -> Curve:
    """Return a finished network's curve."""
    return Curve(
        label=label,
        family=family,
        epochs=[record.epoch for record in records],
        losses=[record.loss for record in records],
        accuracies=[record.validation_accuracy for record in records],
    )


def _running(session: Session, job: Job) -> list[Curve]:
    tasks = session.scalars(
        select(Task).where(Task.job_id == job.id, Task.kind.in_(("score", "build")), Task.state == "leased")
    ).all()
    curves = []
    for task in tasks:
        # What an earlier attempt said counts no more: the present one began with epoch 1 again.
        claims = (
            select(Event.id).where(Event.task_id == task.id, Event.kind == "task_claimed").order_by(Event.id.desc())
        )
        since = session.scalar(claims.limit(1)) or 0
        events = session.scalars(
            select(Event.data)
            .where(Event.task_id == task.id, Event.kind == "progress", Event.id > since)
            .order_by(Event.id)
        )
        losses, accuracies = by_epoch(events)
        epochs = sorted(losses.keys() | accuracies.keys())
        if epochs:
            curves.append(
                Curve(
                    label=task.title,
                    family=_family(session, task),
                    epochs=epochs,
                    losses=[losses.get(epoch) for epoch in epochs],
                    accuracies=[accuracies.get(epoch) for epoch in epochs],
                    running=True,
                )
            )
    return curves


def by_epoch(progress: Iterable[Mapping[str, Any]]) -> tuple[dict[int, float], dict[int, float]]:
    """Return the last loss of each epoch, and its accuracy, which the first word of the next epoch brings."""
    losses: dict[int, float] = {}
    accuracies: dict[int, float] = {}
    for data in progress:
        epoch = data.get("epoch")
        if epoch is None:
            continue
        if data.get("loss") is not None:
            losses[epoch] = data["loss"]
        if data.get("accuracy") is not None and epoch > 1:
            accuracies.setdefault(epoch - 1, data["accuracy"])
    return losses, accuracies


def _family(session: Session, task: Task) -> str:
    """The family of what a task trains; the base where no candidate has the plan."""
    if task.payload.get("rival"):
        return "handcrafted"
    same = (Candidate.job_id == task.job_id, Candidate.plan_hash == task.payload.get("plan_hash"))
    return session.scalar(select(Candidate.family).where(*same).limit(1)) or "base"


def version(curves: Sequence[Curve]) -> int:
    """Count what there is to draw, so that a page knows when there is more."""
    return sum(value is not None for curve in curves for value in (*curve.losses, *curve.accuracies))
