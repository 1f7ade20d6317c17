"""How steady a device is: its noise floors and its canaries, one for each set of conditions, the latest first."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from layerprune.api.workers import DeviceCanary, DeviceNoise
from server.models import CanaryTiming, Conditions, Measurement

from . import noise
from .conditions import runtime
from .groups import AA

MAX_CONDITIONS = 12
"""More than this of one device are not shown."""


def noise_of(session: Session, device_id: int) -> list[DeviceNoise]:
    """List the noise floors of a device."""
    latest = (
        select(Measurement.conditions_id)
        .where(Measurement.device_id == device_id, Measurement.role == AA)
        .group_by(Measurement.conditions_id)
        .order_by(func.max(Measurement.id).desc())
        .limit(MAX_CONDITIONS)
    )
    found = []
    for conditions_id in session.scalars(latest).all():
        effects = noise.effects(session, device_id=device_id, conditions_id=conditions_id)
        conditions = session.get_one(Conditions, conditions_id)
        key = conditions.key
        found.append(
            DeviceNoise(
                runtime=runtime(key),
                precision=key["precision"],
                batch_size=key["batch_size"],
                threads=key["threads"],
                comparable_key=conditions.comparable_key,
                controls=len(effects),
                noise_floor=noise.of_effects(effects),
            )
        )
    return found


def canaries_of(session: Session, device_id: int) -> list[DeviceCanary]:
    """List the canaries of a device."""
    latest = (
        select(CanaryTiming)
        .where(CanaryTiming.device_id == device_id)
        .order_by(CanaryTiming.id.desc())
        .limit(MAX_CONDITIONS * noise.CONTROLS)
        .options(joinedload(CanaryTiming.conditions))
    )
    by_key: dict[str, list[CanaryTiming]] = defaultdict(list)
    for timing in session.scalars(latest):
        by_key[timing.canary_key].append(timing)
    return [_canary(own[: noise.CONTROLS]) for own in list(by_key.values())[:MAX_CONDITIONS]]


def _canary(newest_first: list[CanaryTiming]) -> DeviceCanary:
    last = newest_first[0]
    ordered = sorted(timing.end_ns for timing in newest_first)
    key = last.conditions.key
    return DeviceCanary(
        runtime=runtime(key),
        precision=key["precision"],
        threads=key["threads"],
        timings=len(ordered),
        median_ns=ordered[len(ordered) // 2],
        last_ns=last.end_ns,
        is_off=last.is_off,
    )
