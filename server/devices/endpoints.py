"""GET and POST /v1/devices."""

from __future__ import annotations

from fastapi import APIRouter

from layerprune.api.workers import DeviceCreated, DeviceSpec, DeviceView
from server.auth import AdminDep, UserDep
from server.context import ContextDep

from . import service

router = APIRouter(prefix="/v1", tags=["devices"])


@router.get("/devices")
def list_devices(ctx: ContextDep, principal: UserDep) -> list[DeviceView]:
    """List the devices that can be measured on, whether they are online, and what serves them."""
    devices = service.list_all(ctx.session, principal.project_id)
    return service.views(ctx.session, devices, now=ctx.now, offline_us=ctx.settings.offline_us)


@router.post("/devices", status_code=201)
def create_device(spec: DeviceSpec, ctx: ContextDep, principal: AdminDep) -> DeviceCreated:
    """Add a device, or issue a new token for one: shown this once, for one worker to register within an hour."""
    return service.create(ctx.session, principal.project_id, spec, now=ctx.now, offline_us=ctx.settings.offline_us)
