"""What each device said under each condition so far: its targets as ratios, and the swept latency of architectures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.jobs import JobRequest
from layerprune.api.pruning import Target
from layerprune.api.tasks import Condition, SweepPayload
from server.models import Attempt, Device, Job, SweepPoint, Task


@dataclass(frozen=True)
class Placed:
    """A target on one device: its ratio to the base there, or why it makes no sense there."""

    ratio: float | None
    note: str | None = None


@dataclass
class Place:
    """One device under one condition; `ratios` are architectures' latencies as multiples of the base's."""

    name: str
    device: Device
    condition: Condition
    targets: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    spent_s: float = 0.0

    @property
    def label(self) -> str:
        """The place as people call it."""
        return self.device.name + details(self.condition)

    @property
    def each_s(self) -> float:
        """Seconds of the device per architecture so far."""
        return self.spent_s / max(1, len(self.ratios))


def name_of(device: Device, condition: Condition) -> str:
    """Name a device under one condition, as tasks and searches call it."""
    how = [f"b{condition.batch_size}", f"t{condition.threads}", condition.precision, *settings_of(condition)]
    return ":".join([device.public_id, condition.backend, *how])


def settings_of(condition: Condition) -> list[str]:
    """The settings of a condition, as NAME=VALUE, in one order."""
    return [f"{name}={json.dumps(value)}" for name, value in sorted(condition.settings.items())]


def details(condition: Condition) -> str:
    """The condition as the end of a title."""
    threads = "1 thread" if condition.threads == 1 else f"{condition.threads} threads"
    what = [condition.backend, f"batch {condition.batch_size}", threads, condition.precision, *settings_of(condition)]
    return "".join(f", {part}" for part in what)


def swept(session: Session, job: Job) -> list[Place]:
    """Every device and condition with a finished sweep, in the order in which the sweeps were asked for."""
    request = JobRequest.model_validate(job.request)
    places: dict[str, Place] = {}
    for task, points in _finished_sweeps(session, job):
        assert task.device is not None
        condition = SweepPayload.model_validate(task.payload).condition
        name = name_of(task.device, condition)
        if name not in places:
            # The first sweep alone says what a target in milliseconds is, so that it stays the same in later rounds.
            base_p50_ns = round(median(point.base_p50_ns for point in points))
            places[name] = _place(name, task.device, condition, request, base_p50_ns)
        place = places[name]
        # A sweep is short, and noise only ever adds time: the tenth percentiles are the steadier guide.
        place.ratios.update({point.architecture: point.low_ratio for point in points})
        attempt = session.get_one(Attempt, points[0].attempt_id)
        place.spent_s += ((attempt.finished_at or attempt.started_at) - attempt.started_at) / 1e6
    return list(places.values())


def applies(target: Target, device: str, condition: Condition) -> bool:
    """Whether a target is meant for this device (its name) and condition."""
    return (
        target.device in (None, device)
        and target.backend in (None, condition.backend)
        and target.batch_size in (None, condition.batch_size)
        and target.threads in (None, condition.threads)
        and target.precision in (None, condition.precision)
    )


def is_aimed_at(request: JobRequest, device: Device, condition: Condition) -> bool:
    """Whether any target of the job is meant for the device under this condition."""
    return any(applies(target, device.name, condition) for target in request.pruning.target_list())


def place(target: Target, device: str, condition: Condition, *, base_p50_ns: int) -> Placed | None:
    """Express a target as a ratio to the base on one device; None if the target is meant for another place."""
    if not applies(target, device, condition):
        return None
    if target.ratio is not None:
        return Placed(target.ratio)
    assert target.latency_ms is not None
    ratio = target.latency_ms * 1e6 / base_p50_ns
    if ratio < 1:
        return Placed(ratio)
    return Placed(
        None,
        f"{device}{details(condition)}: the base takes {base_p50_ns / 1e6:.3g} ms already, "
        f"a target of {target.latency_ms:.3g} ms leaves nothing to prune",
    )


def _place(name: str, device: Device, condition: Condition, request: JobRequest, base_p50_ns: int) -> Place:
    found = Place(name, device, condition)
    for target in request.pruning.target_list():
        placed = place(target, device.name, condition, base_p50_ns=base_p50_ns)
        if placed and placed.note:
            found.notes.append(placed.note)
        if placed and placed.ratio is not None and placed.ratio not in found.targets:
            found.targets.append(placed.ratio)
    return found


def _finished_sweeps(session: Session, job: Job) -> Iterator[tuple[Task, Sequence[SweepPoint]]]:
    tasks = session.scalars(select(Task).where(Task.job_id == job.id, Task.kind == "sweep").order_by(Task.id)).all()
    for task in tasks:
        points = session.scalars(select(SweepPoint).where(SweepPoint.task_id == task.id)).all()
        if points and task.device is not None:
            yield task, points
