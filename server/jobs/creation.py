"""Write the tasks of a job that build: what each needs to know, which files, and who can do it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.jobs import JobRequest
from layerprune.api.network import RivalSpec, rival_hash
from layerprune.api.tasks import (
    BuildPayload,
    Edit,
    ScorePayload,
    SearchPayload,
    SearchPlace,
    TrialPayload,
    TrialPlan,
)
from server.context import StageContext
from server.models import Candidate, Job, Scoring, Variant
from server.tasks import queue as tasks

from .conditions import export_opset
from .preparation import forms, tensorrt_targets


def score(ctx: StageContext, job: Job) -> None:
    """Create the first task: make the base, score it and write the candidate plans."""
    request = JobRequest.model_validate(job.request)
    opset, because = export_opset(ctx.session, job)
    if because is not None:
        job.notes = [*job.notes, f"networks are exported for opset {opset}: {because}"]
    comes_trained = request.model.onnx is not None or request.model.weights is not None
    tasks.create(
        ctx.session,
        job=job,
        kind="score",
        key="",
        title=f"{'' if comes_trained else 'train and '}score {request.model.label} on {request.dataset.label}",
        payload=ScorePayload(
            model=request.model,
            dataset=request.dataset,
            pruning=request.pruning,
            training=request.training,
            forms=forms(request),
            parse_for=tensorrt_targets(ctx.session, job),
            opset=opset,
            seed=request.seed,
        ),
        inputs=files(request),
        role="build",
        requirements=requirements(request) | {"criteria": request.pruning.criteria},
        now=ctx.now,
    )


def search(ctx: StageContext, job: Job, scoring: Scoring, places: list[SearchPlace], *, round_no: int) -> None:
    """Create the task that solves every target from measured costs."""
    request = JobRequest.model_validate(job.request)
    base = get_base(ctx.session, job)
    assert scoring.filter_scores_sha256 is not None
    criteria = {criterion for layer in job.layers for criterion in layer["scores"]}
    targets = sum(len(place.targets) for place in places)
    tasks.create(
        ctx.session,
        job=job,
        kind="search",
        key=f"r{round_no}",
        title=f"solve {targets} {'target' if targets == 1 else 'targets'} from measured costs, round {round_no}",
        payload=SearchPayload(
            model=request.model,
            dataset=request.dataset,
            pruning=request.pruning,
            base_weights=base.weights_sha256,
            filter_scores=scoring.filter_scores_sha256,
            edits=[Edit.model_validate(edit) for edit in scoring.edits],
            layer_scores={
                criterion: {
                    layer["name"]: layer["scores"][criterion] for layer in job.layers if criterion in layer["scores"]
                }
                for criterion in sorted(criteria)
            },
            places=places,
            round=round_no,
            forms=forms(request),
            parse_for=tensorrt_targets(ctx.session, job),
            opset=base.opset,
            seed=request.seed,
        ),
        inputs=sorted({*files(request), base.weights_sha256, scoring.filter_scores_sha256}),
        role="build",
        requirements=requirements(request),
        now=ctx.now,
    )


def trial(ctx: StageContext, job: Job, plan_hashes: Sequence[str], *, epochs: int) -> None:
    """Create the task that judges plans before their training is paid for."""
    request = JobRequest.model_validate(job.request)
    base = get_base(ctx.session, job)
    rows = ctx.session.scalars(
        select(Candidate).where(Candidate.job_id == job.id, Candidate.plan_hash.in_(plan_hashes)).order_by(Candidate.id)
    )
    plans = {row.plan_hash: TrialPlan(plan=row.plan, plan_hash=row.plan_hash) for row in rows}
    how = f"by {epochs} epoch of training" if epochs else "without training"
    tasks.create(
        ctx.session,
        job=job,
        kind="trial",
        key=f"e{epochs}",
        title=f"try {len(plans)} plans {how}",
        payload=TrialPayload(
            model=request.model,
            dataset=request.dataset,
            training=request.training,
            base_weights=base.weights_sha256,
            plans=[plans[plan_hash] for plan_hash in plan_hashes],
            epochs=epochs,
            recipe=_recipe(ctx.session, job),
            seed=request.seed,
        ),
        inputs=sorted({*files(request), base.weights_sha256}),
        role="build",
        requirements=requirements(request),
        now=ctx.now,
    )


def build(ctx: StageContext, job: Job, chosen: Candidate, seed: int) -> None:
    """Create the task that trains one plan with one seed."""
    _build(ctx, job, chosen.label, seed, {"plan": chosen.plan, "plan_hash": chosen.plan_hash})


def rival(ctx: StageContext, job: Job, rival: RivalSpec, seed: int) -> None:
    """Create the task that trains a network that is small by design, with one seed."""
    _build(ctx, job, f"the rival {rival.name}", seed, {"rival": rival, "plan_hash": rival_hash(rival)})


def get_base(session: Session, job: Job) -> Variant:
    """Give the job's unpruned network."""
    return session.scalars(select(Variant).where(Variant.job_id == job.id, Variant.family == "base")).one()


def files(request: JobRequest) -> list[str]:
    """The uploaded files that every task needs that makes the network or reads the images."""
    named = (request.model.onnx, request.model.weights, request.dataset.upload)
    return sorted({digest for digest in named if digest is not None})


def requirements(request: JobRequest) -> dict[str, Any]:
    """What a worker must offer to make the network and read the images."""
    found: dict[str, Any] = {}
    if request.model.onnx is not None:
        found["imports_onnx"] = True
    else:
        found["model"] = request.model.name
    if request.dataset.path is not None:
        found["data_path"] = request.dataset.path
    elif request.dataset.upload is None:
        found["dataset"] = request.dataset.name
    return found


def _build(ctx: StageContext, job: Job, what: str, seed: int, specific: dict[str, Any]) -> None:
    request = JobRequest.model_validate(job.request)
    base = get_base(ctx.session, job)
    suffix = f" (seed {seed})" if len(request.training.seeds) > 1 else ""
    own: RivalSpec | None = specific.get("rival")
    weights = [own.weights] if own is not None and own.weights is not None else []
    needs = requirements(request) | ({"rival": own.name} if own is not None else {})
    tasks.create(
        ctx.session,
        job=job,
        kind="build",
        key=f"{specific['plan_hash']}:{seed}",
        title=f"train {what}{suffix}",
        payload=BuildPayload(
            model=request.model,
            dataset=request.dataset,
            pruning=request.pruning,
            training=request.training,
            base_weights=base.weights_sha256,
            training_seed=seed,
            forms=forms(request),
            parse_for=tensorrt_targets(ctx.session, job) if own is not None else [],
            opset=base.opset,
            recipe=_recipe(ctx.session, job),
            seed=request.seed,
            **specific,
        ),
        inputs=sorted({*files(request), base.weights_sha256, *weights}),
        role="build",
        requirements=needs,
        now=ctx.now,
    )


def _recipe(session: Session, job: Job) -> dict[str, Any]:
    scoring = session.get(Scoring, job.id)
    return scoring.recipe if scoring is not None else {}
