"""Store what score and build tasks bring back: the base, the candidate plans and the variants."""

from __future__ import annotations

import re

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.errors import BadInput
from layerprune.api.jobs import JobRequest
from layerprune.api.tasks import BuildPayload, BuildResult, Candidate, ScoreResult, TrainedNetwork
from server.artifacts import service as artifacts
from server.models import Attempt, Job, Task, Variant
from server.models import Candidate as CandidateRow

_HASH = re.compile(r"[0-9a-f]{64}")
BASE_PLAN = "base"
"""Stands in place of a plan's hash for the network that nothing was removed from."""


def store_score(session: Session, task: Task, attempt: Attempt, result: ScoreResult, *, now: int) -> Variant:
    """Store the base, the candidates and what evaluation needs; gives the base.

    Raises BadInput if a candidate was not asked for or names an architecture that was not exported.
    """
    job = task.job
    request = JobRequest.model_validate(job.request)
    exported = {architecture.architecture for architecture in result.architectures}
    for i, candidate in enumerate(result.candidates):
        _check_candidate(candidate, request, exported, f"candidates.{i}")
    for architecture in result.architectures:
        artifacts.reference(session, job.project_id, architecture.onnx, "architecture")
    artifacts.reference(session, job.project_id, result.base_untrained_onnx, "architecture")
    artifacts.reference(session, job.project_id, result.evaluation_pack, "evaluation")
    job.evaluation_sha256 = result.evaluation_pack
    job.evaluation_images = result.evaluation_images
    job.dataset_fingerprint = result.dataset_fingerprint
    job.layers = [layer.model_dump() for layer in result.layers]
    job.reach = [reach.model_dump() for reach in result.reach]
    job.notes = [*job.notes, *result.notes]
    session.add_all(
        CandidateRow(
            job_id=job.id,
            plan_hash=candidate.plan_hash,
            plan=candidate.plan,
            architecture=candidate.architecture,
            method=candidate.method,
            family=candidate.family,
            criterion=candidate.criterion,
            alignment=candidate.alignment,
            scope=candidate.scope,
            amount=candidate.amount,
            params=candidate.params,
            macs=candidate.macs,
            label=candidate.label,
        )
        for candidate in result.candidates
    )
    base = _variant(session, job, attempt, result.base, now=now, seed=request.seed)
    base.plan_hash, base.plan, base.family = BASE_PLAN, None, "base"
    base.criteria, base.alignment, base.amount, base.label = [], None, 0.0, request.model.name
    session.add(base)
    session.flush()
    return base


def store_build(session: Session, task: Task, attempt: Attempt, result: BuildResult, *, now: int) -> None:
    """Store a trained variant; its criteria are all that proposed this very plan."""
    payload = BuildPayload.model_validate(task.payload)
    candidates = session.scalars(
        select(CandidateRow)
        .where(CandidateRow.job_id == task.job_id, CandidateRow.plan_hash == payload.plan_hash)
        .order_by(CandidateRow.selected.desc(), CandidateRow.id)
    ).all()
    first = candidates[0]
    if (result.network.params, result.network.macs) != (first.params, first.macs):
        raise BadInput(
            f"the variant has {result.network.params} parameters and {result.network.macs} MACs, "
            f"its plan leaves {first.params} and {first.macs}",
            field="network.params",
            value=[result.network.params, result.network.macs],
            remedy="Apply the plan of the task, unchanged.",
        )
    requested = JobRequest.model_validate(task.job.request).pruning.criteria
    proposers = {candidate.criterion for candidate in candidates}
    variant = _variant(session, task.job, attempt, result.network, now=now, seed=payload.training_seed)
    variant.plan_hash, variant.plan, variant.family = first.plan_hash, first.plan, first.family
    variant.criteria = [criterion for criterion in requested if criterion in proposers]
    variant.alignment = first.alignment if first.method == "filter" else None
    variant.amount, variant.label = first.amount, first.label
    session.add(variant)
    task.job.notes = [*task.job.notes, *(f"{task.title}: {note}" for note in result.notes)]


def _variant(session: Session, job: Job, attempt: Attempt, network: TrainedNetwork, *, now: int, seed: int) -> Variant:
    if not _HASH.fullmatch(network.architecture):
        raise BadInput(
            f"the architecture {network.architecture!r:.80} is no SHA-256 in hex", field="architecture", value=None
        )
    for split in ("validation", "test"):
        final = getattr(network, split).final
        if final.correct > final.n:
            raise BadInput(
                f"{split} accuracy claims {final.correct} correct answers out of {final.n}",
                field=f"{split}.final.correct",
                value=final.correct,
            )
    for digest, kind in (
        (network.onnx, "onnx"),
        (network.weights, "weights"),
        (network.plan, "plan"),
        (network.preprocess_file, "preprocess"),
        (network.reference_outputs, "reference"),
    ):
        artifacts.reference(session, job.project_id, digest, kind)
    return Variant(
        job_id=job.id,
        attempt_id=attempt.id,
        training_seed=seed,
        architecture=network.architecture,
        params=network.params,
        macs=network.macs,
        onnx_sha256=network.onnx,
        weights_sha256=network.weights,
        plan_sha256=network.plan,
        preprocess_sha256=network.preprocess_file,
        reference_sha256=network.reference_outputs,
        preprocess=network.preprocess.model_dump(),
        validation_correct=network.validation.final.correct,
        validation_n=network.validation.final.n,
        test_correct=network.test.final.correct,
        test_n=network.test.final.n,
        accuracies={"validation": network.validation.model_dump(), "test": network.test.model_dump()},
        curve=[epoch.model_dump() for epoch in network.curve],
        seconds=network.seconds,
        exporter=network.exporter,
        opset=network.opset,
        export_difference=network.export_max_relative_difference,
        created_at=now,
    )


def _check_candidate(candidate: Candidate, request: JobRequest, exported: set[str], where: str) -> None:
    family = "layer" if candidate.method == "layer" else "filter" if candidate.alignment == 1 else "filter_aligned"
    problems = (
        ("plan_hash", candidate.plan_hash, bool(_HASH.fullmatch(candidate.plan_hash)), "is no SHA-256 in hex"),
        ("architecture", candidate.architecture, bool(_HASH.fullmatch(candidate.architecture)), "is no SHA-256 in hex"),
        ("method", candidate.method, candidate.method in request.pruning.methods, "was not asked for"),
        ("criterion", candidate.criterion, candidate.criterion in request.pruning.criteria, "was not asked for"),
        ("family", candidate.family, candidate.family == family, f"should be {family}"),
        (
            "architecture",
            candidate.architecture,
            bool(request.pruning.amounts) or candidate.architecture in exported,
            "was not exported",
        ),
    )
    for name, value, holds, problem in problems:
        if not holds:
            raise BadInput(f"{where}.{name} {value!r} {problem}", field=f"{where}.{name}", value=value)
