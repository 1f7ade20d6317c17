"""Write the tasks of a job: what each needs to know, which files, and who can do it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.jobs import JobRequest
from layerprune.api.network import Preprocess
from layerprune.api.tasks import (
    BuildPayload,
    Condition,
    MeasureInput,
    MeasurePayload,
    ScorePayload,
    ScoreResult,
    SweepPayload,
)
from server.context import StageContext
from server.models import Candidate, Device, Job, Variant
from server.tasks import queue as tasks


def score(ctx: StageContext, job: Job) -> None:
    """Create the first task: make the base, score it and write the candidate plans."""
    request = JobRequest.model_validate(job.request)
    tasks.create(
        ctx.session,
        job=job,
        kind="score",
        key="",
        title=f"train and score {request.model.name} on {request.dataset.name}",
        payload=ScorePayload(
            model=request.model,
            dataset=request.dataset,
            pruning=request.pruning,
            training=request.training,
            seed=request.seed,
        ),
        inputs=[],
        role="build",
        requirements={
            "model": request.model.name,
            "dataset": request.dataset.name,
            "criteria": request.pruning.criteria,
        },
        now=ctx.now,
    )


def sweep(
    ctx: StageContext, job: Job, device: Device, condition: Condition, base: Variant, scored: ScoreResult
) -> None:
    """Create the task that times every untrained architecture on one device under one condition."""
    architectures = {a.architecture: a.onnx for a in scored.architectures}
    preprocess = Preprocess.model_validate(base.preprocess)
    tasks.create(
        ctx.session,
        job=job,
        kind="sweep",
        key=_place(device, condition),
        title=f"time {len(architectures)} untrained architectures on {device.name}{_details(condition)}",
        payload=SweepPayload(
            condition=condition,
            base=scored.base_untrained_onnx,
            architectures=architectures,
            input_shape=[preprocess.channels, preprocess.size, preprocess.size],
            seed=JobRequest.model_validate(job.request).seed,
        ),
        inputs=sorted({scored.base_untrained_onnx, *architectures.values()}),
        role="measure",
        device_id=device.id,
        requirements=_requirements(condition, base.opset),
        now=ctx.now,
    )


def build(ctx: StageContext, job: Job, chosen: Candidate, seed: int) -> None:
    """Create the task that trains one plan with one seed."""
    request = JobRequest.model_validate(job.request)
    base = get_base(ctx.session, job)
    suffix = f" (seed {seed})" if len(request.training.seeds) > 1 else ""
    tasks.create(
        ctx.session,
        job=job,
        kind="build",
        key=f"{chosen.plan_hash}:{seed}",
        title=f"train {chosen.label}{suffix}",
        payload=BuildPayload(
            model=request.model,
            dataset=request.dataset,
            training=request.training,
            base_weights=base.weights_sha256,
            plan=chosen.plan,
            plan_hash=chosen.plan_hash,
            training_seed=seed,
            seed=request.seed,
        ),
        inputs=[base.weights_sha256],
        role="build",
        requirements={"model": request.model.name, "dataset": request.dataset.name},
        now=ctx.now,
    )


def measure(ctx: StageContext, job: Job, device: Device, condition: Condition, variants: Sequence[Variant]) -> None:
    """Create the task that measures the base and every variant, in this order, on one device under one condition."""
    base = get_base(ctx.session, job)
    assert job.evaluation_sha256 is not None
    files = {v.onnx_sha256 for v in [base, *variants]} | {v.reference_sha256 for v in [base, *variants]}
    tasks.create(
        ctx.session,
        job=job,
        kind="measure",
        key=_place(device, condition),
        title=f"measure {len(variants)} variants on {device.name}{_details(condition)}",
        payload=MeasurePayload(
            condition=condition,
            base=_measure_input(base),
            variants=[_measure_input(variant) for variant in variants],
            evaluation_pack=job.evaluation_sha256,
            preprocess=Preprocess.model_validate(base.preprocess),
            seed=JobRequest.model_validate(job.request).seed,
        ),
        inputs=sorted(files | {job.evaluation_sha256}),
        role="measure",
        device_id=device.id,
        requirements=_requirements(condition, max(v.opset for v in [base, *variants])),
        now=ctx.now,
    )


def get_base(session: Session, job: Job) -> Variant:
    """Give the job's unpruned network."""
    return session.scalars(select(Variant).where(Variant.job_id == job.id, Variant.family == "base")).one()


def _measure_input(variant: Variant) -> MeasureInput:
    return MeasureInput(variant=variant.public_id, onnx=variant.onnx_sha256, reference_outputs=variant.reference_sha256)


def _place(device: Device, condition: Condition) -> str:
    return f"{device.public_id}:b{condition.batch_size}:t{condition.threads}:{condition.precision}"


def _details(condition: Condition) -> str:
    threads = "1 thread" if condition.threads == 1 else f"{condition.threads} threads"
    return f", batch {condition.batch_size}, {threads}, {condition.precision}"


def _requirements(condition: Condition, opset: int) -> dict[str, object]:
    return {
        "backend": condition.backend,
        "precision": condition.precision,
        "threads": condition.threads,
        "opset": opset,
    }
