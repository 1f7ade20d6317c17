"""Devices: make them, list them, say whether somebody serves them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.catalogue import Catalogue
from layerprune.api.workers import DeviceCreated, DeviceSpec, DeviceView
from server.auth import REGISTRATION_S, issue
from server.measurements import steadiness
from server.models import Attempt, Device, Worker


def put(session: Session, project_id: int, spec: DeviceSpec, *, now: int) -> Device:
    """Make the device of that name, or bring what is known about it up to date."""
    device = session.scalar(select(Device).where(Device.project_id == project_id, Device.name == spec.name))
    if device is None:
        device = Device(project_id=project_id, name=spec.name, created_at=now, kind=spec.kind, facts=spec.facts)
        session.add(device)
    device.kind = spec.kind
    device.description = spec.description or device.description or ""
    device.facts = spec.facts or device.facts
    session.flush()
    return device


def create(session: Session, project_id: int, spec: DeviceSpec, *, now: int, offline_us: int) -> DeviceCreated:
    """Make a device, or take the one of that name, and issue a token with which one worker can register for it."""
    device = put(session, project_id, spec, now=now)
    token = issue(session, "registration", project_id, now=now, lifetime_s=REGISTRATION_S, device_id=device.id)
    view = views(session, [device], now=now, offline_us=offline_us)[0]
    return DeviceCreated(device=view, registration_token=token, expires_in_s=REGISTRATION_S)


def list_all(session: Session, project_id: int) -> list[Device]:
    """List a project's devices by name."""
    return list(session.scalars(select(Device).where(Device.project_id == project_id).order_by(Device.name)))


def measuring_workers(session: Session, devices: Sequence[Device]) -> dict[int, Worker]:
    """Give for each device, by its internal id, the measuring worker that served it last, if there ever was one."""
    ids = [device.id for device in devices]
    serving: dict[int, Worker] = {}
    for worker in session.scalars(select(Worker).where(Worker.device_id.in_(ids)).order_by(Worker.last_seen_at)):
        if "measure" in worker.roles and worker.device_id is not None:
            serving[worker.device_id] = worker
    return serving


def views(session: Session, devices: list[Device], *, now: int, offline_us: int) -> list[DeviceView]:
    """Say of each device who serves it, since when nobody has heard of it, and whether it is at work."""
    ids = [device.id for device in devices]
    serving: dict[int | None, Worker] = {}
    for worker in session.scalars(select(Worker).where(Worker.device_id.in_(ids)).order_by(Worker.last_seen_at)):
        serving[worker.device_id] = worker
    live = select(Attempt.device_id).where(
        Attempt.device_id.in_(ids), Attempt.state == "leased", Attempt.expires_at > now
    )
    busy = set(session.scalars(live))
    return [
        _view(session, device, serving.get(device.id), now - offline_us, busy=device.id in busy) for device in devices
    ]


def _view(session: Session, device: Device, worker: Worker | None, since: int, *, busy: bool) -> DeviceView:
    runtimes = Catalogue.model_validate(worker.catalogue).backends if worker else []
    return DeviceView(
        id=device.public_id,
        name=device.name,
        kind=device.kind,
        description=device.description,
        facts=device.facts,
        online=worker is not None and worker.last_seen_at > since,
        busy=busy,
        worker=worker.name if worker else None,
        backends=[runtime.name for runtime in runtimes],
        runtimes=runtimes,
        last_seen_at=worker.last_seen_at if worker else None,
        noise=steadiness.noise_of(session, device.id),
        canaries=steadiness.canaries_of(session, device.id),
    )
