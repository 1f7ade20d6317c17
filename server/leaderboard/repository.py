"""Queries on measurements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, Text, and_, cast, func, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased, contains_eager

from layerprune.api.leaderboard import Verdict
from layerprune.api.pruning import Family, Method
from server.measurements.noise import least_effect
from server.measurements.ratios import estimate
from server.models import Conditions, Device, Job, Measurement, Variant

from .front import Front, Point, front

Position = tuple[int, int]
"""p50 in ns and internal id of the last row: rows are ordered by both."""

FAMILIES: dict[Method, tuple[Family, ...]] = {
    "layer": ("layer",),
    "filter": ("filter", "filter_aligned"),
    "hybrid": ("hybrid",),
}
Slice = tuple[int, str, str]
"""Conditions (internal id), model and data set: what may be compared."""
_BaseRow = aliased(Measurement)


@dataclass(frozen=True)
class Filters:
    """Which rows of the leaderboard to show; None is no restriction."""

    model: str | None = None
    dataset: str | None = None
    device: str | None = None
    method: Method | None = None
    family: Family | None = None
    criterion: str | None = None
    max_latency_ms: float | None = None
    min_accuracy: float | None = None
    front: bool = False
    verdict: Verdict | None = None
    job: str | None = None
    comparable_key: str | None = None


@dataclass(frozen=True)
class Row:
    """A measurement with its variant, job, device and conditions loaded, and the base's in the same group."""

    measurement: Measurement
    base: Measurement

    @property
    def slice(self) -> Slice:
        measurement = self.measurement
        return measurement.conditions_id, measurement.job.model, measurement.job.dataset


def list_rows(
    session: Session, conditions: Sequence[ColumnElement[bool]], *, after: Position | None, limit: int
) -> list[Row]:
    """List rows, the fastest first."""
    statement = _rows().where(*conditions).order_by(Measurement.p50_ns, Measurement.id).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(Measurement.p50_ns, Measurement.id) > after)
    return [Row(measurement, base) for measurement, base in session.execute(statement)]


def count_and_keys(session: Session, conditions: Sequence[ColumnElement[bool]]) -> tuple[int, list[str]]:
    """Count all rows that meet the conditions, and list their comparable keys."""
    statement = (
        select(Conditions.comparable_key, func.count())
        .select_from(Measurement)
        .join(Measurement.variant)
        .join(Measurement.conditions)
        .join(Measurement.device)
        .join(Measurement.job)
        .where(*conditions)
        .group_by(Conditions.comparable_key)
        .order_by(Conditions.comparable_key)
    )
    counts = session.execute(statement).all()
    return sum(count for _, count in counts), [key for key, _ in counts]


def conditions(session: Session, project_id: int, filters: Filters) -> list[ColumnElement[bool]]:
    """Say in SQL what may be shown and what was asked for.

    Of the base, which is in every group of a measurement, the first group's row is shown.
    """
    return [*_shown(project_id), *_asked(session, project_id, filters)]


def superseded(session: Session, project_id: int, filters: Filters) -> list[ColumnElement[bool]]:
    """Say in SQL which rows would be shown, had they not been measured again since."""
    return [*_shown(project_id, superseded=True), *_asked(session, project_id, filters)]


def waiting(session: Session, project_id: int, filters: Filters) -> list[ColumnElement[bool]]:
    """Say in SQL which rows would be shown, were their devices proven; of those on no front, there is none."""
    return [*_shown(project_id, Measurement.unproven), *_asked(session, project_id, filters)]


def _asked(session: Session, project_id: int, filters: Filters) -> list[ColumnElement[bool]]:
    equal = (
        (Job.model, filters.model),
        (Job.dataset, filters.dataset),
        (Device.name, filters.device),
        (Job.public_id, filters.job),
        (Variant.family, filters.family),
        (Measurement.verdict, filters.verdict),
        (Conditions.comparable_key, filters.comparable_key),
    )
    wanted = [column == value for column, value in equal if value is not None]
    if filters.method is not None:
        wanted.append(Variant.family.in_(FAMILIES[filters.method]))
    if filters.criterion is not None:
        wanted.append(cast(Variant.criteria, Text).contains(f'"{filters.criterion}"', autoescape=True))
    if filters.max_latency_ms is not None:
        wanted.append(Measurement.p50_ns <= int(filters.max_latency_ms * 1e6))
    if filters.min_accuracy is not None:
        # The product may come out a trifle too large: 7 of 100 must pass 0.07.
        wanted.append(Measurement.correct >= filters.min_accuracy * Measurement.n_images - 1e-6)
    if filters.front:
        on = {row_id for found in fronts(session, project_id).values() for row_id in found.on}
        wanted.append(Measurement.id.in_(on))
    return wanted


def fronts(session: Session, project_id: int, only: Iterable[Slice] | None = None) -> dict[Slice, Front]:
    """Find the front of every slice, or only of some; whatever else is asked for does not change it."""
    statement = (
        select(Measurement, Job.model, Job.dataset)
        .join(Measurement.variant)
        .join(Measurement.job)
        .where(*_shown(project_id), Measurement.verdict == "stable")
    )
    if only is not None:
        statement = statement.where(Measurement.conditions_id.in_({conditions_id for conditions_id, _, _ in only}))
    points: dict[Slice, list[Point]] = defaultdict(list)
    for row, model, dataset in session.execute(statement):
        points[row.conditions_id, model, dataset].append(_point(row))
    return {key: front(found) for key, found in points.items()}


def _shown(
    project_id: int, standing: InstrumentedAttribute[bool] = Measurement.ranked, *, superseded: bool = False
) -> tuple[ColumnElement[bool], ...]:
    is_first_base = and_(Measurement.role == "base", Measurement.group_no == 0)
    return (
        Job.project_id == project_id,
        standing.is_(True),
        Measurement.superseded.is_(superseded),
        or_(Measurement.role == "variant", is_first_base),
    )


def _rows() -> Select[Measurement, Measurement]:
    in_same_group = and_(
        _BaseRow.attempt_id == Measurement.attempt_id,
        _BaseRow.group_no == Measurement.group_no,
        _BaseRow.role == "base",
    )
    return (
        select(Measurement, _BaseRow)
        .join(Measurement.variant)
        .join(Measurement.conditions)
        .join(Measurement.device)
        .join(Measurement.job)
        .join(_BaseRow, in_same_group)
        .options(
            contains_eager(Measurement.variant),
            contains_eager(Measurement.conditions),
            contains_eager(Measurement.device),
            contains_eager(Measurement.job),
        )
    )


def _point(row: Measurement) -> Point:
    ratio = None if row.ratio is None else estimate(row)
    return Point(row.id, row.p50_ns, ratio, row.correct, row.n_images, least_effect(row.noise_floor))
