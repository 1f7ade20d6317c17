"""What a device shows between two copies of one network: below that, a difference is a tie."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.flags import doubts
from layerprune.stats import deciding_ratio
from server.models import Measurement

from .groups import AA
from .ratios import estimate

LEAST_EFFECT = 0.01
"""A difference of less than 1 % is a tie on any device."""
CONTROLS = 30
MIN_CONTROLS = 8
"""With fewer A/A controls the device's own noise is not known yet."""
OF_THE_RATIO = ("aa_off", "ci_not_met")
"""Flags that say how noisy the control was; one with any other flag was disturbed, and its rows are not ranked."""


def floor(session: Session, *, device_id: int, conditions_id: int) -> float | None:
    """Return the 95th percentile of |log ratio| of the last 30 A/A controls on a device under these conditions.

    None while there are fewer than 8.
    """
    return of_effects(effects(session, device_id=device_id, conditions_id=conditions_id))


def effects(session: Session, *, device_id: int, conditions_id: int) -> list[float]:
    """Return |log ratio| of the last 30 A/A controls, the latest first; those that something disturbed are left out."""
    newest = (
        select(Measurement)
        .where(Measurement.role == AA, Measurement.device_id == device_id, Measurement.conditions_id == conditions_id)
        .order_by(Measurement.id.desc())
        .limit(3 * CONTROLS)
    )
    found = [effect(row) for row in session.scalars(newest) if not set(doubts(row.flags)) - set(OF_THE_RATIO)]
    return found[:CONTROLS]


def of_effects(found: Collection[float]) -> float | None:
    """Return the noise floor of the |log ratios| of A/A controls, None if there are too few."""
    if len(found) < MIN_CONTROLS:
        return None
    return float(np.quantile(list(found), 0.95, method="higher"))


def least_effect(noise_floor: float | None) -> float:
    """Return the |log ratio| up to which a difference is a tie, whatever its interval."""
    return max(LEAST_EFFECT, noise_floor or 0.0)


def effect(row: Measurement) -> float:
    """Return the |log ratio| to the base, by the ratio that decides."""
    return abs(math.log(deciding_ratio(estimate(row))))
