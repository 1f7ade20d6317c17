"""Workers come, come back and fall silent."""

from __future__ import annotations

from sqlalchemy import select, update

from layerprune.api.errors import BadInput, Conflict, NotAllowed, NotAuthenticated, UpgradeRequired
from layerprune.api.wire import PROTOCOL_VERSION
from layerprune.api.workers import WorkerRegistered, WorkerRegistration
from server.auth import Principal, issue
from server.context import StageContext
from server.devices import service as devices
from server.models import Device, Token, Worker
from server.tasks.leases import end_other_incarnations

SEEN_STEP_US = 5_000_000


def register(ctx: StageContext, principal: Principal, registration: WorkerRegistration) -> WorkerRegistered:
    """Enter a worker, or bring it back after a restart; its earlier processes' leases end at once.

    An admin may register any worker, a registration token one worker for its device, a worker's token itself. A token
    is issued unless the worker came with its own.
    Raises UpgradeRequired, BadInput, Conflict, NotAllowed and NotAuthenticated (a registration token used before).
    """
    _check(registration)
    worker = _find(ctx, principal, registration)
    device = _device(ctx, principal, registration)
    if worker is None:
        worker = Worker(project_id=principal.project_id, name=registration.name, registered_at=ctx.now)
        ctx.session.add(worker)
    worker.device_id = device.id if device else None
    worker.roles = list(registration.roles)
    worker.catalogue = registration.catalogue.model_dump(mode="json")
    worker.incarnation = registration.incarnation
    worker.protocol_version = registration.protocol_version
    worker.allow_null = registration.allow_null
    worker.last_seen_at = ctx.now
    ctx.session.flush()
    end_other_incarnations(ctx, worker)
    return WorkerRegistered(
        worker_id=worker.public_id,
        device_id=device.public_id if device else None,
        token=None if principal.kind == "worker" else _new_token(ctx, principal, worker),
        heartbeat_s=ctx.settings.heartbeat_s,
        lease_s=ctx.settings.lease_s,
    )


def touch(worker: Worker, *, now: int) -> None:
    """Note that a worker gave a sign of life; not more often than needed, because it is a write."""
    if now - worker.last_seen_at >= SEEN_STEP_US:
        worker.last_seen_at = now


def _check(registration: WorkerRegistration) -> None:
    if registration.protocol_version < PROTOCOL_VERSION:
        raise UpgradeRequired(
            f"the worker speaks protocol {registration.protocol_version}, this server needs {PROTOCOL_VERSION}",
            field="protocol_version",
            value=registration.protocol_version,
        )
    if "measure" in registration.roles and registration.device is None:
        raise BadInput(
            "a worker that measures needs a device",
            field="device",
            remedy="Start it with --device NAME, or without the role measure.",
        )


def _find(ctx: StageContext, principal: Principal, registration: WorkerRegistration) -> Worker | None:
    named = ctx.session.scalar(
        select(Worker)
        .where(Worker.project_id == principal.project_id, Worker.name == registration.name)
        .with_for_update()
    )
    if principal.kind == "admin":
        return named
    if principal.kind == "worker":
        if named is None or named.id != principal.worker_id:
            raise NotAllowed(
                f"this token is not that of the worker {registration.name!r}",
                field="name",
                value=registration.name,
                remedy="Register under the name that the token was issued for, or with an admin's token.",
            )
        return named
    token = ctx.session.get_one(Token, principal.token_id, with_for_update=True)
    if token.used_at is not None:
        # Only the very process that used it may ask again: its first answer may have been lost.
        if named is None or (named.id, named.incarnation) != (token.worker_id, registration.incarnation):
            raise NotAuthenticated(
                "the registration token was used before", remedy="Get a new one with POST /v1/devices."
            )
        return named
    if named is not None and named.device_id != token.device_id:
        raise Conflict(
            f"there is a worker {registration.name!r} already, for another device",
            field="name",
            value=registration.name,
            remedy="Choose another name.",
        )
    return named


def _device(ctx: StageContext, principal: Principal, registration: WorkerRegistration) -> Device | None:
    spec = registration.device
    if principal.kind == "admin":
        return devices.put(ctx.session, principal.project_id, spec, now=ctx.now) if spec else None
    if principal.kind == "worker":
        own = ctx.session.get_one(Worker, principal.worker_id).device_id
    else:
        own = principal.device_id
    if spec is None and own is None:
        return None
    device = ctx.session.get(Device, own) if own is not None else None
    if spec is None or device is None or spec.name != device.name:
        raise NotAllowed(
            f"this token is for {f'the device {device.name!r}' if device else 'a worker without a device'}, "
            f"not for {f'{spec.name!r}' if spec else 'one without'}",
            field="device",
            value=spec.name if spec else None,
            remedy="Name the device that the token was issued for, or register with an admin's token.",
        )
    return devices.put(ctx.session, principal.project_id, spec, now=ctx.now)


def _new_token(ctx: StageContext, principal: Principal, worker: Worker) -> str:
    session = ctx.session
    session.execute(
        update(Token)
        .where(Token.worker_id == worker.id, Token.kind == "worker", Token.revoked_at.is_(None))
        .values(revoked_at=ctx.now)
    )
    if principal.kind == "registration":
        token = session.get_one(Token, principal.token_id)
        token.used_at, token.worker_id = ctx.now, worker.id
    return issue(session, "worker", principal.project_id, now=ctx.now, worker_id=worker.id)
