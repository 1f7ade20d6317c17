"""Rows that somebody wants to compare by hand: only what was measured under equal conditions is comparable."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from layerprune.api.comparison import LatencyComparison, LatencyPair
from layerprune.api.errors import BadInput, NotFound
from layerprune.api.wire import Ratio
from layerprune.flags import doubts
from layerprune.stats import RISK, RatioEstimate, deciding_ratio, holm, is_different, p_value, ratio_of_ratios
from server.artifacts.store import LocalStore
from server.measurements.noise import least_effect
from server.measurements.ratios import estimate
from server.measurements.samples import ratio_of
from server.models import Job, Measurement

SEED = 0
MAX_COMPARED = 50
REMEDY = "Compare rows with the same comparable_key; to have both under one, measure them again under equal conditions."


def compare(session: Session, store: LocalStore, project_id: int, public_ids: Sequence[str]) -> LatencyComparison:
    """Compare the latency of rows with that of the first one; what is shown holds for all of them together.

    Raises NotFound for an unknown measurement, BadInput for fewer than two and for rows of different conditions, which
    names what differs.
    """
    rows = [_get(session, project_id, public_id) for public_id in dict.fromkeys(public_ids)]
    if len(rows) < 2:
        raise BadInput(
            f"{len(rows)} measurement cannot be compared",
            field="measurement",
            value=list(public_ids),
            remedy="Name two or more different measurements.",
        )
    first, others = rows[0], rows[1:]
    for other in others:
        _check_comparable(first, other)
    ratios = [_ratio(store, row, first) for row in others]
    adjusted = holm([p_value(ratio) for ratio in ratios])
    least = max(least_effect(row.noise_floor) for row in rows)
    pairs = [_pair(row, ratio, p, least, first) for row, ratio, p in zip(others, ratios, adjusted, strict=True)]
    return LatencyComparison(
        reference=first.public_id,
        label=first.variant.label,
        p50_ns=first.p50_ns,
        comparable_key=first.conditions.comparable_key,
        least_effect=least,
        pairs=pairs,
    )


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the conditions that differ, by dotted name, with both values; null stands for one that is not there."""
    ours, theirs = dict(_flat(a)), dict(_flat(b))
    return {
        name: [ours.get(name), theirs.get(name)]
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    }


def _check_comparable(first: Measurement, other: Measurement) -> None:
    if first.conditions_id == other.conditions_id:
        return
    found = differences(first.conditions.key, other.conditions.key)
    words = "; ".join(f"{name} is {_said(ours)} and {_said(theirs)}" for name, (ours, theirs) in found.items())
    raise BadInput(
        f"{first.variant.label!r} and {other.variant.label!r} were measured under different conditions: {words}",
        field="measurement",
        value=found,
        remedy=REMEDY,
        code="not_comparable",
    )


def _said(value: Any) -> str:
    return "not known" if value is None else repr(value)


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _get(session: Session, project_id: int, public_id: str) -> Measurement:
    found = session.scalar(
        select(Measurement)
        .join(Measurement.job)
        .where(Measurement.public_id == public_id, Job.project_id == project_id)
        .options(joinedload(Measurement.variant), joinedload(Measurement.conditions))
    )
    if found is None:
        raise NotFound(f"there is no measurement {public_id!r}", field="measurement", value=public_id)
    return found


def _ratio(store: LocalStore, row: Measurement, first: Measurement) -> RatioEstimate:
    """By the samples where both were timed in one group; else each to its own base, both beside their latencies."""
    paths = store.path(row.samples_sha256), store.path(first.samples_sha256)
    if (row.attempt_id, row.group_no) == (first.attempt_id, first.group_no) and all(path.is_file() for path in paths):
        return ratio_of(*paths, seed=SEED)
    ours, theirs = estimate(row), estimate(first)
    through_bases = ratio_of_ratios(ours, theirs)
    if row.job_id == first.job_id:
        return through_bases
    # Bases of different jobs may be different networks: only the latencies themselves can be set in relation.
    scale = row.p50_ns / first.p50_ns / through_bases.value
    return _scaled(through_bases, scale)


def _scaled(ratio: RatioEstimate, scale: float) -> RatioEstimate:
    return RatioEstimate(
        value=ratio.value * scale,
        ci_low=ratio.ci_low * scale,
        ci_high=ratio.ci_high * scale,
        low_value=ratio.value * scale,
        processes=ratio.processes,
        df=ratio.df,
    )


def _pair(row: Measurement, ratio: RatioEstimate, p: float, least: float, first: Measurement) -> LatencyPair:
    in_doubt = list(doubts([*row.flags, *first.flags]))
    is_shown = p <= RISK and is_different(ratio, noise_floor=least, level=1.0) and not in_doubt
    faster = deciding_ratio(ratio) < 1
    by = abs(1 - ratio.value)
    names = f"{row.variant.label!r} takes {ratio.value:.3f} of the time of {first.variant.label!r}"
    bounds = f"(95 % interval {ratio.ci_low:.3f} to {ratio.ci_high:.3f})"
    if in_doubt:
        sentence = f"{names} {bounds}, but in doubt: {', '.join(in_doubt)}."
    elif is_shown:
        sentence = f"{names} {bounds}: it is {by:.1%} {'faster' if faster else 'slower'}."
    else:
        sentence = f"{names} {bounds}: a tie, differences up to {math.expm1(least):.1%} are noise on this device."
    return LatencyPair(
        measurement=row.public_id,
        label=row.variant.label,
        p50_ns=row.p50_ns,
        ratio=Ratio(value=ratio.value, ci_low=ratio.ci_low, ci_high=ratio.ci_high),
        verdict=("faster" if faster else "slower") if is_shown else "tied",
        doubts=in_doubt,
        sentence=sentence,
    )
