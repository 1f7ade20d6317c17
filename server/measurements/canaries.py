"""The history of the canary on each device: a fixed network whose latency says whether the device is what it was.

The worker sends medians without samples, so they are taken as reported. They raise a flag; they rank nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.timings import MeasuredGroup
from server.models import CanaryTiming, Conditions

from .conditions import canonical

HISTORY = 30
MIN_HISTORY = 8
DEVIATIONS = 3.0
TO_DEVIATION = 1.4826
"""A median absolute deviation times this is a standard deviation, if values are normal."""
LEAST_BAND = 0.02
"""The band is at least 2 % to either side: a device that is steadier than that is not in doubt because it is steady."""
OF_THE_NETWORK = ("batch_size", "input_shape", "exporter", "opset", "stage")
"""Conditions that speak of the job's networks, and not of how the canary was timed."""


def key_of(conditions: Mapping[str, Any]) -> str:
    """Return the hash of what must be equal for two canaries to be comparable."""
    own = {name: value for name, value in conditions.items() if name not in OF_THE_NETWORK}
    return hashlib.sha256(canonical(own).encode()).hexdigest()


def is_off(value: int, history: Sequence[int]) -> bool:
    """Whether a value lies outside of median and 3 scaled median absolute deviations of the last 30, of 8 at least."""
    known = np.array(history[-HISTORY:], dtype=np.float64)
    if len(known) < MIN_HISTORY:
        return False
    middle = float(np.median(known))
    deviation = TO_DEVIATION * float(np.median(np.abs(known - middle)))
    return abs(value - middle) > max(DEVIATIONS * deviation, LEAST_BAND * middle)


def store(
    session: Session,
    groups: Sequence[MeasuredGroup],
    conditions: Conditions,
    *,
    attempt_id: int,
    device_id: int,
    now: int,
) -> bool:
    """Judge an attempt's canary by the device's history, add it there, and tell whether it is off."""
    timings = [timing for group in groups for timing in group.canary]
    if not timings:
        return False
    canary_key = key_of(conditions.key)
    start_ns = round(float(np.median([timing.start_ns for timing in timings])))
    end_ns = round(float(np.median([timing.end_ns for timing in timings])))
    before = list_last(session, device_id=device_id, canary_key=canary_key)
    off = is_off(start_ns, [one.start_ns for one in before]) or is_off(end_ns, [one.end_ns for one in before])
    session.add(
        CanaryTiming(
            attempt_id=attempt_id,
            device_id=device_id,
            conditions_id=conditions.id,
            canary_key=canary_key,
            start_ns=start_ns,
            end_ns=end_ns,
            is_off=off,
            created_at=now,
        )
    )
    return off


def list_last(session: Session, *, device_id: int, canary_key: str) -> list[CanaryTiming]:
    """List the last 30 timings of the canary on a device, the oldest first."""
    newest = (
        select(CanaryTiming)
        .where(CanaryTiming.device_id == device_id, CanaryTiming.canary_key == canary_key)
        .order_by(CanaryTiming.id.desc())
        .limit(HISTORY)
    )
    return list(reversed(session.scalars(newest).all()))
