"""Write the tasks of a job that measure: on which device, under which condition, which files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from layerprune.api.jobs import JobRequest
from layerprune.api.network import Preprocess
from layerprune.api.precision import form_of
from layerprune.api.tasks import Condition, MeasureInput, MeasurePayload, SweepPayload
from server.context import StageContext
from server.models import Device, Job, Scoring, Variant
from server.tasks import queue as tasks

from .creation import get_base
from .places import details, name_of
from .preparation import architecture_files


def sweep(
    ctx: StageContext,
    job: Job,
    device: Device,
    condition: Condition,
    architectures: Mapping[str, str],
    *,
    round_no: int,
    part: str = "",
    likely_s: float | None = None,
) -> None:
    """Create a task that times untrained architectures (hash -> ONNX) on one device under one condition."""
    base, scoring = get_base(ctx.session, job), ctx.session.get_one(Scoring, job.id)
    base_file = scoring.base_untrained_sha256
    if form_of(condition.backend, condition.precision) is not None:
        base_file, _ = base.files(condition.backend, condition.precision)
    files = architecture_files(scoring, condition)
    architectures = {name: files[name] for name in architectures}
    preprocess = Preprocess.model_validate(base.preprocess)
    duration = f" (about {max(1, round(likely_s / 60))} min)" if likely_s and likely_s >= 60 else ""
    what = "untrained architectures" if round_no == 0 else f"solutions of round {round_no}"
    tasks.create(
        ctx.session,
        job=job,
        kind="sweep",
        key=f"{name_of(device, condition)}:r{round_no}{part}",
        title=f"time {len(architectures)} {what} on {device.name}{details(condition)}{duration}",
        payload=SweepPayload(
            condition=condition,
            base=base_file,
            architectures=dict(architectures),
            input_shape=[preprocess.channels, preprocess.size, preprocess.size],
            round=round_no,
            seed=JobRequest.model_validate(job.request).seed,
        ),
        inputs=sorted({base_file, *architectures.values()}),
        role="measure",
        device_id=device.id,
        requirements=_requirements(condition, base.opset),
        now=ctx.now,
    )


def measure(ctx: StageContext, job: Job, device: Device, condition: Condition, variants: Sequence[Variant]) -> None:
    """Create the task that measures the base and every variant, in this order, on one device under one condition."""
    base = get_base(ctx.session, job)
    assert job.evaluation_sha256 is not None
    files = {file for variant in [base, *variants] for file in variant.files(condition.backend, condition.precision)}
    tasks.create(
        ctx.session,
        job=job,
        kind="measure",
        key=name_of(device, condition),
        title=f"measure {len(variants)} variants on {device.name}{details(condition)}",
        payload=MeasurePayload(
            condition=condition,
            base=_measure_input(base, condition),
            variants=[_measure_input(variant, condition) for variant in variants],
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


def _measure_input(variant: Variant, condition: Condition) -> MeasureInput:
    onnx, reference = variant.files(condition.backend, condition.precision)
    return MeasureInput(variant=variant.public_id, onnx=onnx, reference_outputs=reference, macs=variant.macs)


def _requirements(condition: Condition, opset: int) -> dict[str, object]:
    return {
        "backend": condition.backend,
        "precision": condition.precision,
        "threads": condition.threads,
        "opset": opset,
    }
