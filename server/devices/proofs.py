"""Which classes of devices a project has proven, and what that means for measured rows.

The rule itself is `layerprune.proof`. A row of an unproven class is stored and shown, and is on no leaderboard; the
report that proves its class brings it there, in the transaction that stores the report.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.orm import Session

from layerprune.api.device_reports import Unranked
from layerprune.proof import SYNTHETIC, DeviceClass, class_of, needs_report, remedy
from server.models import Conditions, Device, Job, Measurement, Project, Proof


def is_unproven(session: Session, project_id: int, conditions: Mapping[str, Any]) -> bool:
    """Say whether rows with these conditions have to wait for a report."""
    found = class_of(conditions)
    if not needs_report(found.backend) or _is_proven(session, project_id, found):
        return False
    # A report may be on its way: it locks the project while it looks for rows, so one of both sees the other.
    session.execute(select(Project.id).where(Project.id == project_id).with_for_update(read=True))
    return not _is_proven(session, project_id, found)


def _is_proven(session: Session, project_id: int, found: DeviceClass) -> bool:
    same = (Proof.device_model == found.device_model, Proof.backend == found.backend, Proof.version == found.version)
    return (
        session.scalar(select(Proof.id).where(Proof.project_id == project_id, *same, Proof.passed).limit(1)) is not None
    )


def rank_proven(session: Session, project_id: int, classes: Collection[DeviceClass]) -> int:
    """Let the rows of these classes onto the leaderboards, and say how many they are."""
    session.execute(select(Project.id).where(Project.id == project_id).with_for_update())
    jobs = select(Job.id).where(Job.project_id == project_id)
    waiting = (Measurement.unproven.is_(True), Measurement.job_id.in_(jobs))
    keys = session.execute(
        select(Conditions.id, Conditions.key).where(
            Conditions.id.in_(select(Measurement.conditions_id).where(*waiting))
        )
    )
    proven = [conditions_id for conditions_id, key in keys if class_of(key) in classes]
    may_rank = and_(Measurement.backend != SYNTHETIC, Measurement.emulated.is_(False))
    done = session.execute(
        update(Measurement)
        .where(*waiting, Measurement.conditions_id.in_(proven))
        .values(unproven=False, ranked=may_rank)
        .execution_options(synchronize_session=False)
    )
    return int(done.rowcount)  # type: ignore[attr-defined]


def unranked(session: Session, *wanted: ColumnElement[bool]) -> list[Unranked]:
    """Count the variants' rows that wait for a report, which `wanted` says, and say what to do about them."""
    found = session.execute(
        select(Device.name, Conditions.key, func.count())
        .select_from(Measurement)
        .join(Measurement.device)
        .join(Measurement.conditions)
        .join(Measurement.job)
        .join(Measurement.variant)
        .where(Measurement.role == "variant", *wanted)
        .group_by(Device.name, Conditions.id)
        .order_by(Device.name, Conditions.id)
    )
    counts: dict[tuple[str, DeviceClass], int] = {}
    for device, key, count in found:
        place = device, class_of(key)
        counts[place] = counts.get(place, 0) + count
    return [_unranked(device, one, count) for (device, one), count in counts.items()]


def _unranked(device: str, found: DeviceClass, rows: int) -> Unranked:
    are = "measured variant is" if rows == 1 else "measured variants are"
    return Unranked(
        device=device,
        backend=found.backend,
        device_model=found.device_model,
        version=found.version,
        rows=rows,
        message=f"{rows} {are} not ranked: {found} is an unproven backend",
        remedy=remedy(found.backend, device),
    )
