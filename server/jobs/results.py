"""Store what score, search and build tasks bring back: the base, the candidate plans, solutions and variants."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NoReturn

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.errors import BadInput
from layerprune.api.jobs import JobRequest
from layerprune.api.tasks import (
    Architecture,
    BuildPayload,
    BuildResult,
    Candidate,
    Edit,
    ScoreResult,
    SearchPayload,
    SearchResult,
    Solved,
    TrainedNetwork,
)
from server.artifacts import service as artifacts
from server.models import Attempt, Job, Scoring, Solution, Task, Variant
from server.models import Candidate as CandidateRow

from .preparation import forms

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
    criteria = _criteria(request, result.edits)
    for i, candidate in enumerate(result.candidates):
        _check_candidate(candidate, request, exported, criteria, f"candidates.{i}")
    for i, edit in enumerate(result.edits):
        if edit.architecture not in exported:
            _refuse(f"edits.{i}.architecture", edit.architecture, "was not exported")
    artifacts.reference(session, job.project_id, result.base_untrained_onnx, "architecture")
    artifacts.reference(session, job.project_id, result.evaluation_pack, "evaluation")
    if result.filter_scores is not None:
        artifacts.reference(session, job.project_id, result.filter_scores, "scores")
    session.add(
        Scoring(
            job_id=job.id,
            base_untrained_sha256=result.base_untrained_onnx,
            architectures=_architectures(session, job, result.architectures),
            edits=[edit.model_dump(mode="json") for edit in result.edits],
            filter_scores_sha256=result.filter_scores,
            epoch_seconds=result.epoch_seconds or _median_epoch_s(result.base),
            recipe=result.base.recipe,
        )
    )
    job.evaluation_sha256 = result.evaluation_pack
    job.evaluation_images = result.evaluation_images
    job.dataset_fingerprint = result.dataset_fingerprint
    job.layers = [layer.model_dump() for layer in result.layers]
    job.reach = [reach.model_dump() for reach in result.reach]
    job.notes = [*job.notes, *result.notes]
    session.add_all(_candidate_row(job, candidate) for candidate in result.candidates)
    base = _variant(session, job, attempt, result.base, now=now, seed=request.seed)
    base.plan_hash, base.plan, base.family = BASE_PLAN, None, "base"
    base.criteria, base.alignment, base.amount, base.label = [], None, 0.0, request.model.label
    session.add(base)
    session.flush()
    return base


def store_search(session: Session, task: Task, result: SearchResult) -> None:
    """Store the plans that a search found, and which one stands for each target.

    Raises BadInput for a plan that was not asked for, or a solution without its plan or for another place.
    """
    job, payload = task.job, SearchPayload.model_validate(task.payload)
    scoring = session.get_one(Scoring, job.id)
    request = JobRequest.model_validate(job.request)
    criteria = _criteria(request, payload.edits)
    known = {one["architecture"] for one in scoring.architectures}
    exported = known | {architecture.architecture for architecture in result.architectures}
    for i, candidate in enumerate(result.candidates):
        _check_candidate(candidate, request, exported, criteria, f"candidates.{i}")
    new = [one for one in result.architectures if one.architecture not in known]
    scoring.architectures = [*scoring.architectures, *_architectures(session, job, new)]
    here = select(CandidateRow.plan_hash, CandidateRow.family, CandidateRow.criterion)
    plans = {tuple(row) for row in session.execute(here.where(CandidateRow.job_id == job.id))}
    for candidate in result.candidates:
        if (key := (candidate.plan_hash, candidate.family, candidate.criterion)) not in plans:
            plans.add(key)
            session.add(_candidate_row(job, candidate))
    targets = {place.place: place.targets for place in payload.places}
    for i, solved in enumerate(result.solved):
        _check_solved(solved, targets, {plan_hash for plan_hash, _, _ in plans}, exported, f"solved.{i}")
        session.add(Solution(job_id=job.id, round_no=payload.round, **solved.model_dump()))
    job.notes = [*job.notes, *(note for note in result.notes if note not in job.notes)]


def store_build(session: Session, task: Task, attempt: Attempt, result: BuildResult, *, now: int) -> None:
    """Store a trained variant: a plan's, with all criteria that proposed this very plan, or a rival's."""
    payload = BuildPayload.model_validate(task.payload)
    variant = _variant(session, task.job, attempt, result.network, now=now, seed=payload.training_seed)
    if payload.rival is not None:
        base = session.scalars(select(Variant).where(Variant.job_id == task.job_id, Variant.family == "base")).one()
        variant.plan_hash, variant.plan, variant.family = payload.plan_hash, None, "handcrafted"
        variant.criteria, variant.alignment, variant.label = [], None, payload.rival.name
        variant.amount = max(0.0, 1 - result.network.macs / max(1, base.macs))
    else:
        _describe(session, task, payload, variant)
    session.add(variant)
    task.job.notes = [*task.job.notes, *(f"{task.title}: {note}" for note in result.notes)]


def _describe(session: Session, task: Task, payload: BuildPayload, variant: Variant) -> None:
    """Fill in what a variant's plan says; raises BadInput if the network is not what the plan leaves."""
    candidates = session.scalars(
        select(CandidateRow)
        .where(CandidateRow.job_id == task.job_id, CandidateRow.plan_hash == payload.plan_hash)
        .order_by(CandidateRow.selected.desc(), CandidateRow.id)
    ).all()
    first = candidates[0]
    if (variant.params, variant.macs) != (first.params, first.macs):
        raise BadInput(
            f"the variant has {variant.params} parameters and {variant.macs} MACs, "
            f"its plan leaves {first.params} and {first.macs}",
            field="network.params",
            value=[variant.params, variant.macs],
            remedy="Apply the plan of the task, unchanged.",
        )
    proposers = {candidate.criterion for candidate in candidates}
    requested = JobRequest.model_validate(task.job.request).pruning.criteria
    variant.plan_hash, variant.plan, variant.family = first.plan_hash, first.plan, first.family
    variant.criteria = [*(c for c in requested if c in proposers), *sorted(proposers - set(requested))]
    variant.alignment = None if first.method == "layer" else first.alignment
    variant.amount, variant.label = first.amount, first.label


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
    _check_forms(network.forms, forms(JobRequest.model_validate(job.request)), "network")
    for prepared in network.forms.values():
        artifacts.reference(session, job.project_id, prepared.onnx, "onnx")
        artifacts.reference(session, job.project_id, prepared.reference_outputs, "reference")
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
        forms={name: prepared.model_dump() for name, prepared in network.forms.items()},
        preprocess=network.preprocess.model_dump(),
        validation_correct=network.validation.final.correct,
        validation_n=network.validation.final.n,
        test_correct=network.test.final.correct,
        test_n=network.test.final.n,
        accuracies={"validation": network.validation.model_dump(), "test": network.test.model_dump()},
        curve=[epoch.model_dump() for epoch in network.curve],
        seconds=network.seconds,
        recipe=network.recipe,
        exporter=network.exporter,
        opset=network.opset,
        export_difference=network.export_max_relative_difference,
        created_at=now,
    )


def _criteria(request: JobRequest, edits: Iterable[Edit]) -> set[str]:
    """What plans may go by: what was asked for, and what edits are weighed by besides, such as the rise of the loss."""
    return {*request.pruning.criteria, *(name for edit in edits for name in edit.costs)}


def _median_epoch_s(network: TrainedNetwork) -> float | None:
    return median(epoch.seconds for epoch in network.curve) if network.curve else None


def _candidate_row(job: Job, candidate: Candidate) -> CandidateRow:
    return CandidateRow(job_id=job.id, **candidate.model_dump())


def _architectures(session: Session, job: Job, exported: Iterable[Architecture]) -> list[dict[str, Any]]:
    request = JobRequest.model_validate(job.request)
    swept = [] if request.pruning.amounts else forms(request)
    found = []
    for one in exported:
        _check_forms(one.forms, swept, f"architectures.{one.architecture:.16}")
        for digest in (one.onnx, *one.forms.values()):
            artifacts.reference(session, job.project_id, digest, "architecture")
        found.append({"architecture": one.architecture, "onnx": one.onnx, "forms": one.forms})
    return found


def _check_forms(sent: Iterable[str], wanted: Sequence[str], where: str) -> None:
    """Refuse a network that lacks a form that will be measured: another file would pass for it."""
    if missing := sorted(set(wanted) - set(sent)):
        _refuse(f"{where}.forms", sorted(sent), f"lacks {', '.join(missing)}")


def _check_candidate(
    candidate: Candidate, request: JobRequest, exported: set[str], criteria: set[str], where: str
) -> None:
    filters = "filter" if candidate.alignment == 1 else "filter_aligned"
    family = filters if candidate.method == "filter" else candidate.method
    problems = (
        ("plan_hash", candidate.plan_hash, bool(_HASH.fullmatch(candidate.plan_hash)), "is no SHA-256 in hex"),
        ("architecture", candidate.architecture, bool(_HASH.fullmatch(candidate.architecture)), "is no SHA-256 in hex"),
        ("method", candidate.method, candidate.method in request.pruning.methods, "was not asked for"),
        ("criterion", candidate.criterion, candidate.criterion in criteria, "was not asked for"),
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
            _refuse(f"{where}.{name}", value, problem)


def _check_solved(
    solved: Solved, targets: Mapping[str, Sequence[float]], plans: set[str], exported: set[str], where: str
) -> None:
    problems = (
        ("place", solved.place, solved.place in targets, "is not a place of the task"),
        ("target", solved.target, solved.target in targets.get(solved.place, ()), "was not asked for there"),
        ("plan_hash", solved.plan_hash, solved.plan_hash in plans, "is no candidate's"),
        ("architecture", solved.architecture, solved.architecture in exported, "was not exported"),
    )
    for name, value, holds, problem in problems:
        if not holds:
            _refuse(f"{where}.{name}", value, problem)


def _refuse(field: str, value: object, problem: str) -> NoReturn:
    raise BadInput(f"{field} {value!r} {problem}", field=field, value=value)
