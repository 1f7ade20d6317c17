"""GET and POST /v1/devices, and the reports of a device."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from layerprune.api.device_reports import DeviceReport, ReportView
from layerprune.api.workers import DeviceCreated, DeviceSpec, DeviceView
from server.auth import AdminDep, AdminOrWorkerDep, UserDep
from server.context import ContextDep
from server.db import ReadSessionDep

from . import reports, service

router = APIRouter(prefix="/v1", tags=["devices"])
DeviceName = Annotated[str, Path(max_length=64, description="name or id")]
ReportId = Annotated[str, Path(max_length=64)]


@router.get("/devices")
def list_devices(ctx: ContextDep, principal: UserDep) -> list[DeviceView]:
    """List the devices that can be measured on, whether they are online, and what serves them."""
    devices = service.list_all(ctx.session, principal.project_id)
    return service.views(ctx.session, devices, now=ctx.now, offline_us=ctx.settings.offline_us)


@router.post("/devices", status_code=201)
def create_device(spec: DeviceSpec, ctx: ContextDep, principal: AdminDep) -> DeviceCreated:
    """Add a device, or issue a new token for one: shown this once, for one worker to register within an hour."""
    return service.create(ctx.session, principal.project_id, spec, now=ctx.now, offline_us=ctx.settings.offline_us)


@router.get("/devices/{device}/reports")
def list_reports(device: DeviceName, session: ReadSessionDep, principal: UserDep) -> list[ReportView]:
    """List what `layerprune device check` found on a device, the newest report first; `device` is a name or an id."""
    return reports.list_of(session, reports.get(session, principal.project_id, device))


@router.post("/devices/{device}/reports", status_code=201)
def add_report(device: DeviceName, report: DeviceReport, ctx: ContextDep, principal: AdminOrWorkerDep) -> ReportView:
    """Take a report of `layerprune device check`; rows of every class that it proves are ranked from then on."""
    return reports.add(ctx, principal, device, report)


@router.get("/devices/{device}/reports/{report_id}")
def get_report(device: DeviceName, report_id: ReportId, session: ReadSessionDep, principal: UserDep) -> ReportView:
    """Give one report as it came."""
    return reports.get_report(session, reports.get(session, principal.project_id, device), report_id)
