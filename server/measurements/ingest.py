"""Turn the result of a sweep or of a measurement into rows, every number recomputed from the raw samples."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune import doubts
from layerprune.api.errors import BadInput
from layerprune.api.tasks import MeasurePayload, MeasureResult, SessionAccuracy, SweepPayload, SweepResult
from layerprune.flags import verdict
from layerprune.samples import unpack_outcomes
from layerprune.stats import is_different, percentile_bounds_ns, ratio_flags
from server.devices import proofs
from server.models import Attempt, Conditions, Measurement, SweepPoint, Task, Variant

from . import canaries, conditions, explanations, noise
from .groups import AA, BASE, Group, Part, PathOf, Timed, check
from .samples import ratio_of

MAX_ACCURACY_GAP = 0.005
"""`output_mismatch`: the timed session's accuracy and the builder's differ by more than half a point."""
COARSE = ("bf16", "int8")
"""Precisions in which a network may answer otherwise than in the builder's float32."""
UNRANKED_BACKENDS = ("null",)
"""Backends whose latencies are synthetic; their rows never enter a leaderboard."""


def prepare(result: SweepResult | MeasureResult, *, seed: int, path_of: PathOf) -> None:
    """Work the ratios of a result out ahead of the transaction that stores it, so that it holds its locks briefly."""
    for group in result.groups:
        base = next((session.samples for session in group.sessions if session.session == BASE), None)
        for session in group.sessions:
            if base is not None and session.session != BASE:
                ratio_of(path_of(session.samples), path_of(base), seed=seed)


def store_sweep(
    session: Session, task: Task, attempt: Attempt, result: SweepResult, path_of: PathOf, *, now: int
) -> None:
    """Store one point per architecture; raises BadInput if the result is not what its samples say."""
    payload = SweepPayload.model_validate(task.payload)
    groups = check(result.groups, payload.architectures, path_of=path_of, seed=payload.seed)
    row = conditions.store(session, conditions.merge(result.conditions, payload.condition, stage="sweep"))
    of_canary = _canary(session, task, attempt, result, row, now=now)
    for group in groups:
        for timed in group.others:
            session.add(
                SweepPoint(
                    task_id=task.id,
                    attempt_id=attempt.id,
                    device_id=_device_id(task),
                    conditions_id=row.id,
                    architecture=timed.name,
                    p50_ns=timed.p50_ns,
                    base_p50_ns=group.base.p50_ns,
                    ratio=timed.ratio.value,
                    ratio_low=timed.ratio.ci_low,
                    ratio_high=timed.ratio.ci_high,
                    low_ratio=timed.ratio.low_value,
                    flags=_flags(group, timed, of_canary),
                    samples_sha256=timed.digest,
                )
            )


def store_measurements(
    session: Session, task: Task, attempt: Attempt, result: MeasureResult, path_of: PathOf, *, now: int
) -> None:
    """Store one row per session, base and control of each group among them.

    Raises BadInput if the result is not what its samples and outcomes say, or not what was asked for.
    """
    payload = MeasurePayload.model_validate(task.payload)
    asked = [variant.variant for variant in payload.variants]
    variants = {
        variant.public_id: variant
        for variant in session.scalars(select(Variant).where(Variant.public_id.in_([*asked, payload.base.variant])))
    }
    base = variants[payload.base.variant]
    groups = check(result.groups, asked, path_of=path_of, seed=payload.seed)
    accuracies = _check_accuracies(result.accuracies, {BASE, *asked}, images=task.job.evaluation_images or 0)
    measured_with = (payload.condition.backend, payload.condition.precision)
    exporters = sorted({variant.written_by(*measured_with) for variant in variants.values()})
    opsets = sorted({variant.opset for variant in variants.values()})
    key = conditions.merge(result.conditions, payload.condition, exporter=" + ".join(exporters), opset=opsets[-1])
    key_row = conditions.store(session, key)
    device_id = _device_id(task)
    of_canary = _canary(session, task, attempt, result, key_row, now=now)
    noise_floor = noise.floor(session, device_id=device_id, conditions_id=key_row.id)
    emulated = is_emulated(task, key)
    unproven = proofs.is_unproven(session, task.job.project_id, key)
    for group_no, group in enumerate(groups):
        for timed in (group.base, group.aa, *group.others):
            control = timed.name in (BASE, AA)
            variant = base if control else variants[timed.name]
            accuracy = accuracies[BASE if control else timed.name]
            mismatch = ["output_mismatch"] if _disagrees(accuracy, variant, payload.condition.precision) else []
            below = [] if control else _below(timed, noise_floor)
            flags = _flags(group, timed, [*of_canary, *mismatch, *below])
            tails = percentile_bounds_ns(timed.samples)
            session.add(
                Measurement(
                    job_id=task.job_id,
                    attempt_id=attempt.id,
                    variant_id=variant.id,
                    device_id=device_id,
                    conditions_id=key_row.id,
                    group_no=group_no,
                    role=timed.name if control else "variant",
                    backend=payload.condition.backend,
                    emulated=emulated,
                    unproven=unproven,
                    ranked=payload.condition.backend not in UNRANKED_BACKENDS and not (emulated or unproven),
                    precision=payload.condition.precision,
                    batch_size=payload.condition.batch_size,
                    threads=payload.condition.threads,
                    processes=len(timed.samples.processes),
                    n_samples=timed.n_samples,
                    p50_ns=timed.p50_ns,
                    p90_ns=tails["p90"],
                    p95_ns=tails["p95"],
                    p99_ns=tails["p99"],
                    p999_ns=tails["p99.9"],
                    ratio=None if timed.name == BASE else timed.ratio.value,
                    ratio_low=None if timed.name == BASE else timed.ratio.ci_low,
                    ratio_high=None if timed.name == BASE else timed.ratio.ci_high,
                    low_ratio=None if timed.name == BASE else timed.ratio.low_value,
                    low_ratio_low=timed.ratio.low_ci_low,
                    low_ratio_high=timed.ratio.low_ci_high,
                    ratio_df=None if timed.name == BASE else timed.ratio.df,
                    noise_floor=noise_floor,
                    parts={name: _part(part) for name, part in timed.parts.items()},
                    facts=timed.facts,
                    correct=accuracy.correct,
                    n_images=accuracy.n,
                    outcomes=base64.b64decode(accuracy.outcomes),
                    output_difference=accuracy.max_relative_difference,
                    verdict=verdict(flags),
                    flags=flags,
                    observed=group.observed,
                    samples_sha256=timed.digest,
                    created_at=now,
                )
            )
    explanations.store(
        session, result.explanations, {name: variants[name] for name in asked}, attempt, key_row, path_of, now=now
    )


def _check_accuracies(
    reported: Sequence[SessionAccuracy], asked: set[str], *, images: int
) -> Mapping[str, SessionAccuracy]:
    """The accuracy of each session; the control's may be left out, and the base's may come once per group."""
    found: dict[str, SessionAccuracy] = {}
    for accuracy in reported:
        where = f"accuracies.{accuracy.session}"
        if accuracy.session not in asked | {AA}:
            raise BadInput(
                f"an accuracy of {accuracy.session!r}, which was not asked for",
                field=where,
                value=accuracy.session,
                remedy="Evaluate exactly the sessions of the task.",
            )
        if accuracy.n != images:
            raise BadInput(
                f"{accuracy.session!r} was evaluated on {accuracy.n} images, the evaluation pack holds {images}",
                field=f"{where}.n",
                value=accuracy.n,
                remedy="Evaluate every image of the pack once.",
            )
        counted = int(unpack_outcomes(accuracy.outcomes, accuracy.n).sum())
        if counted != accuracy.correct:
            raise BadInput(
                f"{accuracy.session!r} claims {accuracy.correct} correct answers, its outcomes hold {counted}",
                field=f"{where}.correct",
                value=accuracy.correct,
                remedy="Report one outcome per image and their sum.",
            )
        found.setdefault(accuracy.session, accuracy)
    if missing := sorted(asked - found.keys()):
        raise BadInput(
            f"no accuracy of {', '.join(missing)}",
            field="accuracies",
            value=missing,
            remedy="Evaluate every timed session on the evaluation pack.",
        )
    return found


def _disagrees(accuracy: SessionAccuracy, variant: Variant, precision: str) -> bool:
    """Coarse precisions may cost accuracy, which then counts; int8 must agree with what its own file says."""
    gap = abs(accuracy.correct / accuracy.n - variant.test_correct / variant.test_n)
    return not accuracy.agrees or (precision not in COARSE and gap > MAX_ACCURACY_GAP)


def is_emulated(task: Task, key: Mapping[str, Any]) -> bool:
    """Whether the device, or what its worker says of it, is another machine in software."""
    return bool(key.get("emulated")) or bool(task.device and task.device.facts.get("emulated"))


def _canary(
    session: Session,
    task: Task,
    attempt: Attempt,
    result: SweepResult | MeasureResult,
    key_row: Conditions,
    *,
    now: int,
) -> list[str]:
    off = canaries.store(session, result.groups, key_row, attempt_id=attempt.id, device_id=_device_id(task), now=now)
    return ["canary_off"] if off else []


def _part(part: Part) -> dict[str, Any]:
    tails = percentile_bounds_ns(part.samples)
    return {"p50_ns": part.p50_ns, "p90_ns": tails["p90"], "p99_ns": tails["p99"], "samples": part.digest}


def _below(timed: Timed, noise_floor: float | None) -> list[str]:
    shown = is_different(timed.ratio, noise_floor=noise.least_effect(noise_floor), level=1.0)
    return [] if shown else ["below_noise_floor"]


def _flags(group: Group, timed: Timed, more: Iterable[str]) -> list[str]:
    derived = [
        *ratio_flags(timed.ratio, group.aa.ratio),
        *doubts.of_samples(timed.samples),
        *doubts.of_parts({name: part.samples for name, part in timed.parts.items()}),
        *(["single_build"] if _is_single_build(timed) else []),
    ]
    return sorted({*group.flags, *derived, *more})


def _is_single_build(timed: Timed) -> bool:
    # A runtime that keeps its engines says how many it built; one that keeps none builds anew in every process.
    builds = timed.facts.get("other", {}).get("builds")
    return "build_ms" in timed.facts and 1 in (len(timed.samples.processes), builds)


def _device_id(task: Task) -> int:
    if task.device_id is None:
        raise BadInput(f"task {task.public_id} measures but has no device", field="device", value=None)
    return task.device_id
