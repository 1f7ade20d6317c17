"""Take device reports, keep them, show them."""

from __future__ import annotations

import hashlib

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from layerprune import proof
from layerprune.api.device_reports import DeviceReport, Problem, ProofView, ReportView
from layerprune.api.errors import BadInput, NotAllowed, NotFound
from server.auth import Principal
from server.context import StageContext
from server.db import insert_missing
from server.measurements.conditions import canonical
from server.models import Device, Proof, Worker
from server.models import DeviceReport as ReportRow

from .proofs import rank_proven

MAX_FREE_BYTES = 64 * 1024
"""Facts, conditions and readings together; samples are bounded by their fields."""
AHEAD_US = 86_400_000_000
"""A board's clock may be wrong, but not by more than a day into the future."""
SHOWN = 50


def add(ctx: StageContext, principal: Principal, device_name: str, report: DeviceReport) -> ReportView:
    """Store a report and rank the rows of every class that it proves; sent again, it is what it was.

    A worker's token is good for the worker's own device alone. Raises NotFound, NotAllowed, and BadInput for a report
    whose numbers its samples do not bear out.
    """
    proof.check_numbers(report)
    _check_sizes(report, now=ctx.now)
    device = get(ctx.session, principal.project_id, device_name)
    if principal.kind == "worker" and ctx.session.get_one(Worker, principal.worker_id).device_id != device.id:
        raise NotAllowed(
            f"this worker's token is not for the device {device_name!r}",
            field="device",
            value=device_name,
            remedy="Upload with the token of the device's own worker, or with an admin's.",
        )
    body = report.model_dump(mode="json")
    digest = hashlib.sha256(canonical(body).encode()).hexdigest()
    values = {"device_id": device.id, "report_hash": digest, "report": body, "made_at": report.made_at}
    is_new = insert_missing(ctx.session, ReportRow, values | {"received_at": ctx.now})
    row = ctx.session.scalars(
        select(ReportRow).where(ReportRow.device_id == device.id, ReportRow.report_hash == digest)
    ).one()
    if is_new:
        _prove(ctx.session, device.project_id, row, report)
    return view(ctx.session, row)


def _prove(session: Session, project_id: int, row: ReportRow, report: DeviceReport) -> None:
    common = proof.sensor_problems(report)
    proofs = {}
    for backend in report.backends:
        found = proof.make_class(backend.device_model, backend.backend, backend.version)
        problems = [*common, *proof.problems(backend)]
        proofs[found] = Proof(
            report_id=row.id,
            project_id=project_id,
            device_model=found.device_model,
            backend=found.backend,
            version=found.version,
            passed=not problems,
            problems=[problem.model_dump(mode="json") for problem in problems],
        )
    session.add_all(proofs.values())
    session.flush()
    row.ranked_rows = rank_proven(session, project_id, [found for found, one in proofs.items() if one.passed])


def get(session: Session, project_id: int, name: str) -> Device:
    """Find a device by its name or its id; raises NotFound."""
    named = or_(Device.name == name, Device.public_id == name)
    device = session.scalar(select(Device).where(Device.project_id == project_id, named))
    if device is None:
        raise NotFound(f"there is no device {name!r}", field="device", value=name)
    return device


def list_of(session: Session, device: Device) -> list[ReportView]:
    """List the newest reports of a device, at most `SHOWN`."""
    newest = select(ReportRow).where(ReportRow.device_id == device.id).order_by(ReportRow.id.desc()).limit(SHOWN)
    return [view(session, row) for row in session.scalars(newest)]


def get_report(session: Session, device: Device, report_id: str) -> ReportView:
    """Give one report as it came; raises NotFound."""
    row = session.scalar(select(ReportRow).where(ReportRow.device_id == device.id, ReportRow.public_id == report_id))
    if row is None:
        raise NotFound(f"{device.name} has no report {report_id!r}", field="report", value=report_id)
    return view(session, row).model_copy(update={"report": DeviceReport.model_validate(row.report)})


def view(session: Session, row: ReportRow) -> ReportView:
    """Say what a report proves."""
    proofs = session.scalars(select(Proof).where(Proof.report_id == row.id).order_by(Proof.id))
    return ReportView(
        id=row.public_id,
        device=row.device.name,
        made_at=row.made_at,
        received_at=row.received_at,
        layerprune=row.report["layerprune"],
        proofs=[
            ProofView(
                device_model=one.device_model,
                backend=one.backend,
                version=one.version,
                passed=one.passed,
                problems=[Problem.model_validate(problem) for problem in one.problems],
            )
            for one in proofs
        ],
        ranked_rows=row.ranked_rows,
    )


def _check_sizes(report: DeviceReport, *, now: int) -> None:
    free = [report.facts, *(backend.conditions for backend in report.backends)]
    free += [values for sensor in report.sensors for values in (sensor.policy, sensor.values)]
    free += [check.timing.facts for backend in report.backends for check in backend.networks if check.timing]
    size = sum(len(canonical(values)) for values in free)
    if size > MAX_FREE_BYTES:
        raise BadInput(
            f"facts, conditions and readings take {size} bytes, the limit is {MAX_FREE_BYTES}",
            field="facts",
            value=size,
            remedy="Send the report as 'layerprune device check' wrote it.",
        )
    if report.made_at > now + AHEAD_US:
        raise BadInput(
            "the report was made in the future",
            field="made_at",
            value=report.made_at,
            remedy="Set the device's clock and check again.",
        )
