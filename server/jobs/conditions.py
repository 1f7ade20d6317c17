"""Under which conditions the devices of a job measure, and for which opset its networks are exported."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.catalogue import BackendInfo, Catalogue
from layerprune.api.jobs import JobRequest
from layerprune.api.tasks import Condition
from server.devices import service as devices
from server.models import Device, Job, JobDevice

OPSET = 17
"""What networks are exported for unless a device reads less."""


def offers(session: Session, rows: Sequence[Device]) -> dict[int, list[BackendInfo]]:
    """Give each device's runtimes by its internal id; devices that no worker has served yet are left out."""
    workers = devices.measuring_workers(session, rows)
    return {device_id: Catalogue.model_validate(worker.catalogue).backends for device_id, worker in workers.items()}


def conditions(request: JobRequest, offered: Sequence[BackendInfo] | None) -> list[Condition]:
    """What one device measures under, one task each: every runtime with every batch, thread count and precision.

    Precisions that a runtime does not have there are left out; `offered` is None for a device that nobody has served.
    """
    wanted = request.measure
    has = {backend.name: backend.precisions for backend in offered or ()}
    return [
        Condition(
            backend=backend,
            precision=precision,
            batch_size=batch_size,
            threads=threads,
            settings=wanted.settings.get(backend, {}),
            budget=wanted.budget,
        )
        for backend in wanted.backend_list()
        for batch_size in wanted.batch_sizes
        for threads in wanted.threads
        for precision in wanted.precisions
        if precision in has.get(backend, wanted.precisions)
    ]


def export_opset(session: Session, job: Job) -> tuple[int, str | None]:
    """The opset that every runtime of the job reads on every device, and what lowers it below the usual."""
    measured = JobRequest.model_validate(job.request).measure.backend_list()
    rows = session.scalars(
        select(Device).join(JobDevice, JobDevice.device_id == Device.id).where(JobDevice.job_id == job.id)
    )
    by_name = {row.name: row for row in rows}
    offered = offers(session, list(by_name.values()))
    opset, because = OPSET, None
    for name in sorted(by_name):
        for backend in offered.get(by_name[name].id, ()):
            if backend.name in measured and backend.max_opset < opset:
                opset = backend.max_opset
                because = f"{backend.name} {backend.version} on {name} reads no newer one"
    return opset, because
