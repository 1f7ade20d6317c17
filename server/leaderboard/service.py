"""The leaderboard's rows, and a variant with all that is known of it."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from layerprune.api.errors import NotFound
from layerprune.api.leaderboard import Accuracy, Downloads, Leaderboard, LeaderboardRow, PartTiming, VariantView
from layerprune.api.timings import SessionFacts
from layerprune.api.training import Schedule
from layerprune.api.wire import Ratio
from layerprune.flags import verdict
from layerprune.proof import FLAG as UNPROVEN
from layerprune.stats import wilson
from server.devices import proofs
from server.measurements import explanations
from server.measurements.conditions import runtime
from server.models import Job, Measurement, Variant

from . import cursor, repository
from .front import Front
from .repository import Filters, Row

NO_FRONT = Front(frozenset(), frozenset())
MAX_JOBS = 20
"""A matrix over several jobs compares no more than these."""


def page(
    session: Session, project_id: int, filters: Filters, *, limit: int = 50, after: str | None = None
) -> Leaderboard:
    """Give one page of measured variants, the fastest first; `after` is the cursor of the page before.

    Raises BadInput for a cursor of another query.
    """
    position = None if after is None else cursor.decode(after, filters)
    conditions = repository.conditions(session, project_id, filters)
    found = repository.list_rows(session, conditions, after=position, limit=limit + 1)
    rows = found[:limit]
    total, keys = repository.count_and_keys(session, conditions)
    last = rows[-1].measurement if len(found) > limit else None
    return Leaderboard(
        rows=_views(session, project_id, rows),
        next_cursor=cursor.encode((last.p50_ns, last.id), filters) if last else None,
        total=total,
        comparable_keys=keys,
        unranked=[] if after else proofs.unranked(session, *repository.waiting(session, project_id, filters)),
    )


def variant(session: Session, project_id: int, public_id: str) -> VariantView:
    """Give a variant; raises NotFound."""
    found = session.scalar(
        select(Variant)
        .join(Variant.job)
        .where(Variant.public_id == public_id, Job.project_id == project_id)
        .options(joinedload(Variant.job))
    )
    if found is None:
        raise NotFound(f"there is no variant {public_id!r}", field="variant", value=public_id)
    rows = [
        row
        for shown in (repository.conditions, repository.waiting, repository.superseded)
        for row in repository.list_rows(
            session,
            [*shown(session, project_id, Filters()), Measurement.variant_id == found.id],
            after=None,
            limit=1000,
        )
    ]
    return VariantView(
        id=found.public_id,
        job=found.job.public_id,
        label=found.label,
        model=found.job.model,
        dataset=found.job.dataset,
        family=found.family,
        criteria=found.criteria,
        alignment=found.alignment,
        amount=found.amount,
        training_seed=found.training_seed,
        steps=_steps(found, found.job),
        plan=found.plan,
        plan_hash=found.plan_hash,
        architecture=found.architecture,
        params=found.params,
        macs=found.macs,
        preprocess=found.preprocess,
        validation=found.accuracies["validation"],
        test=found.accuracies["test"],
        curve=found.curve,
        seconds=found.seconds,
        exporter=found.exporter,
        opset=found.opset,
        export_max_relative_difference=found.export_difference,
        onnx=found.onnx_sha256,
        weights=found.weights_sha256,
        plan_file=found.plan_sha256,
        preprocess_file=found.preprocess_sha256,
        measurements=_views(session, project_id, rows),
        explanations=explanations.list_of(session, found),
        created_at=found.created_at,
    )


def jobs_of(session: Session, project_id: int, model: str, dataset: str) -> list[Job]:
    """List the newest jobs of a model and data set that have measured something, at most `MAX_JOBS`."""
    measured = select(Measurement.job_id).where(Measurement.ranked.is_(True))
    newest = (
        select(Job)
        .where(Job.project_id == project_id, Job.model == model, Job.dataset == dataset, Job.id.in_(measured))
        .order_by(Job.id.desc())
        .limit(MAX_JOBS)
    )
    return list(session.scalars(newest))


def list_measured(session: Session, project_id: int) -> list[tuple[str, str, int]]:
    """List every model and data set that was measured, with the number of jobs."""
    measured = select(Measurement.job_id).where(Measurement.ranked.is_(True))
    found = session.execute(
        select(Job.model, Job.dataset, func.count())
        .where(Job.project_id == project_id, Job.id.in_(measured))
        .group_by(Job.model, Job.dataset)
        .order_by(Job.model, Job.dataset)
    )
    return [(model, dataset, jobs) for model, dataset, jobs in found]


def accuracy(correct: int, n: int) -> Accuracy:
    """Give an accuracy with its interval."""
    value, ci_low, ci_high = wilson(correct, n)
    return Accuracy(correct=correct, n=n, value=value, ci_low=ci_low, ci_high=ci_high)


def _views(session: Session, project_id: int, rows: list[Row]) -> list[LeaderboardRow]:
    fronts = repository.fronts(session, project_id, {row.slice for row in rows})
    return [_view(row, fronts.get(row.slice, NO_FRONT)) for row in rows]


def _view(row: Row, front: Front) -> LeaderboardRow:
    measured, base = row.measurement, row.base
    variant, job = measured.variant, measured.job
    flags = [*measured.flags, *([UNPROVEN] if measured.unproven else [])]
    return LeaderboardRow(
        measurement=measured.public_id,
        job=job.public_id,
        variant=variant.public_id,
        label=variant.label,
        model=job.model,
        dataset=job.dataset,
        family=variant.family,
        criteria=variant.criteria,
        alignment=variant.alignment,
        amount=variant.amount,
        training_seed=variant.training_seed,
        device=measured.device.name,
        runtime=runtime(measured.conditions.key),
        precision=measured.precision,
        batch_size=measured.batch_size,
        threads=measured.threads,
        p50_ns=measured.p50_ns,
        p90_ns=measured.p90_ns,
        p95_ns=measured.p95_ns,
        p99_ns=measured.p99_ns,
        p999_ns=measured.p999_ns,
        n_samples=measured.n_samples,
        ratio=_ratio(measured.ratio, measured.ratio_low, measured.ratio_high),
        low_ratio=_ratio(measured.low_ratio, measured.low_ratio_low, measured.low_ratio_high),
        versus_base=front.versus_base.get(measured.id),
        noise_floor=measured.noise_floor,
        parts={name: PartTiming.model_validate(part) for name, part in measured.parts.items()},
        facts=SessionFacts.model_validate(measured.facts),
        steps=_steps(variant, job),
        accuracy=accuracy(measured.correct, measured.n_images),
        base_accuracy=accuracy(base.correct, base.n_images),
        params=variant.params,
        macs=variant.macs,
        verdict=verdict(flags) if measured.unproven else measured.verdict,
        flags=flags,
        on_front=measured.id in front.on,
        tied_with_front=measured.id in front.tied,
        superseded=measured.superseded,
        comparable_key=measured.conditions.comparable_key,
        downloads=Downloads(
            onnx=variant.files(measured.backend, measured.precision)[0],
            weights=variant.weights_sha256,
            plan=variant.plan_sha256,
            preprocess=variant.preprocess_sha256,
            samples=measured.samples_sha256,
        ),
        measured_at=measured.created_at,
    )


def _ratio(value: float | None, low: float | None, high: float | None) -> Ratio | None:
    return None if value is None or low is None or high is None else Ratio(value=value, ci_low=low, ci_high=high)


def _steps(variant: Variant, job: Job) -> int:
    """In how many steps a variant was pruned; the base and rivals were not."""
    schedule = Schedule.model_validate(job.request["training"].get("schedule", {}))
    return schedule.steps if variant.plan is not None and schedule.kind == "iterative" else 1
