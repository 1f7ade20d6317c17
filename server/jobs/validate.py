"""Refuse early what cannot work: every name, number and combination that the server can know of."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from layerprune.api.catalogue import BackendInfo, Catalogue
from layerprune.api.errors import BadInput, UnknownName
from layerprune.api.jobs import JobRequest
from layerprune.api.pruning import PruningSpec, Target, TargetLists

from .estimate import wanted_plans


@dataclass(frozen=True)
class KnownDevice:
    """A device of the project; `backends` is None if no worker has ever served it, so that nothing can be checked."""

    name: str
    online: bool
    backends: Sequence[BackendInfo] | None


def validate(
    request: JobRequest, *, offered: Catalogue, devices: Sequence[KnownDevice], max_trainings: int
) -> list[KnownDevice]:
    """Check a request against what workers offer, and give the devices it will be measured on.

    Raises UnknownName for a name nobody offers, BadInput for values that cannot work.
    """
    _check_names(request, offered)
    _check_lists(request)
    _check_filters(request.pruning, offered)
    _check_preprocess(request)
    chosen = _choose_devices(request, devices)
    for device in chosen:
        _check_backend(request, device)
    _check_targets(request, [device.name for device in chosen])
    _check_amount_of_work(request, offered, len(chosen), max_trainings)
    return chosen


def filter_criteria(offered: Catalogue) -> set[str]:
    """The criteria that score filters as well as layers."""
    return {criterion.name for criterion in offered.criteria if criterion.has_filter_form}


def _check_names(request: JobRequest, offered: Catalogue) -> None:
    known_models = [model.name for model in offered.models]
    if request.model.name not in known_models:
        raise UnknownName("model", request.model.name, known_models, field="model.name")
    known_sets = [dataset.name for dataset in offered.datasets]
    if request.dataset.name not in known_sets:
        raise UnknownName("dataset", request.dataset.name, known_sets, field="dataset.name")
    known_criteria = [criterion.name for criterion in offered.criteria]
    for i, name in enumerate(request.pruning.criteria):
        if name not in known_criteria:
            raise UnknownName("criterion", name, known_criteria, field=f"pruning.criteria.{i}")


def _check_lists(request: JobRequest) -> None:
    lists: dict[str, Sequence[Hashable]] = {
        "pruning.criteria": request.pruning.criteria,
        "pruning.methods": request.pruning.methods,
        "pruning.amounts": request.pruning.amounts or [],
        "pruning.filters.alignments": request.pruning.filters.alignments,
        "pruning.filters.scopes": request.pruning.filters.scopes,
        "training.seeds": request.training.seeds,
        "measure.devices": request.measure.devices,
        "measure.batch_sizes": request.measure.batch_sizes,
        "measure.threads": request.measure.threads,
        "measure.precisions": request.measure.precisions,
    }
    if isinstance(request.pruning.targets, TargetLists):
        lists["pruning.targets.latency_ratios"] = request.pruning.targets.latency_ratios
        lists["pruning.targets.latency_ms"] = request.pruning.targets.latency_ms
    for field, values in lists.items():
        for value in values:
            if list(values).count(value) > 1:
                raise BadInput(f"{field} names {value!r} more than once", field=field, value=value)
    if request.pruning.amounts == []:
        raise BadInput(
            "pruning.amounts is empty", field="pruning.amounts", value=[], remedy="Name an amount or leave it out."
        )


def _check_filters(pruning: PruningSpec, offered: Catalogue) -> None:
    with_form = filter_criteria(offered)
    if "filter" in pruning.methods and not with_form & set(pruning.criteria):
        raise BadInput(
            f"none of the criteria {', '.join(pruning.criteria)} scores filters",
            field="pruning.criteria",
            value=pruning.criteria,
            remedy=f"Add one of {', '.join(sorted(with_form))}, or leave the method 'filter' out.",
        )


def _check_preprocess(request: JobRequest) -> None:
    if (preprocess := request.model.preprocess) is None:
        return
    for name in ("mean", "std"):
        values = getattr(preprocess, name)
        if len(values) != preprocess.channels:
            raise BadInput(
                f"preprocess.{name} has {len(values)} values for {preprocess.channels} channels",
                field=f"model.preprocess.{name}",
                value=values,
                remedy="Give one value per channel.",
            )


def _choose_devices(request: JobRequest, devices: Sequence[KnownDevice]) -> list[KnownDevice]:
    by_name = {device.name: device for device in devices}
    for i, name in enumerate(request.measure.devices):
        if name not in by_name:
            raise UnknownName("device", name, by_name, field=f"measure.devices.{i}")
    if request.measure.devices:
        return [by_name[name] for name in request.measure.devices]
    chosen = [device for device in devices if device.online] or list(devices)
    if not chosen:
        raise BadInput(
            "there is no device to measure on",
            field="measure.devices",
            value=[],
            remedy="Start a worker with a device, for instance: layerprune worker --device local-cpu --roles measure",
            code="no_device",
        )
    return chosen


def _check_backend(request: JobRequest, device: KnownDevice) -> None:
    if device.backends is None:
        return
    wanted = request.measure
    backend = next((backend for backend in device.backends if backend.name == wanted.backend), None)
    if backend is None:
        raise UnknownName("backend", wanted.backend, [b.name for b in device.backends], field="measure.backend")
    for i, precision in enumerate(wanted.precisions):
        if precision not in backend.precisions:
            raise UnknownName("precision", precision, backend.precisions, field=f"measure.precisions.{i}")
    for i, threads in enumerate(wanted.threads):
        if threads > backend.max_threads:
            raise BadInput(
                f"{threads} threads are more than {device.name} offers, which is {backend.max_threads}",
                field=f"measure.threads.{i}",
                value=threads,
                remedy=f"Ask for at most {backend.max_threads}, or leave the device out.",
            )


def _check_targets(request: JobRequest, devices: Sequence[str]) -> None:
    pruning = request.pruning
    if pruning.amounts:
        return
    if isinstance(pruning.targets, TargetLists):
        _check_target_lists(pruning.targets)
    targets = pruning.target_list()
    if not targets:
        raise BadInput(
            "there is no latency target",
            field="pruning.targets",
            value=[],
            remedy='Name a target such as {"latency_ratios": [0.7]}, or leave targets out for 0.8, 0.65 and 0.5.',
        )
    for i, target in enumerate(targets):
        _check_target(request, target, f"pruning.targets.{i}", devices)


def _check_target_lists(lists: TargetLists) -> None:
    for i, ratio in enumerate(lists.latency_ratios):
        if not 0 < ratio < 1:
            above = "at or above the base itself" if ratio >= 1 else "not above 0"
            raise BadInput(
                f"a latency ratio of {ratio:g} is {above}; a target must lie between 0 and 1",
                field=f"pruning.targets.latency_ratios.{i}",
                value=ratio,
                remedy="Name the fraction of the base's latency that is left, such as 0.7.",
            )
    for i, latency_ms in enumerate(lists.latency_ms):
        if latency_ms <= 0:
            raise BadInput(
                f"a latency of {latency_ms:g} ms is not above 0",
                field=f"pruning.targets.latency_ms.{i}",
                value=latency_ms,
                remedy="Name milliseconds above 0.",
            )


def _check_target(request: JobRequest, target: Target, field: str, devices: Sequence[str]) -> None:
    wanted = request.measure
    named: tuple[tuple[str, object, Iterable[object]], ...] = (
        ("device", target.device, devices),
        ("precision", target.precision, wanted.precisions),
        ("batch_size", target.batch_size, wanted.batch_sizes),
    )
    for name, value, measured in named:
        if value is not None and value not in measured:
            raise BadInput(
                f"a target is for {name} {value!r}, the job measures {', '.join(map(str, measured))}",
                field=f"{field}.{name}",
                value=value,
                remedy=f"Add it to the job's measure settings, or leave {name} out of the target.",
            )
    if target.statistic != "p50":
        raise BadInput(
            f"plans cannot be chosen by {target.statistic}: it needs at least 662 samples of every candidate",
            field=f"{field}.statistic",
            value=target.statistic,
            remedy="Aim at p50; the leaderboard shows p99 wherever the sample allows it.",
        )


def _check_amount_of_work(request: JobRequest, offered: Catalogue, devices: int, max_trainings: int) -> None:
    asked, seeds = request.pruning.max_trainings, len(request.training.seeds)
    remedy = f"Set pruning.max_trainings to at most {max_trainings}, or ask for fewer criteria, targets or seeds."
    if asked is not None and asked > max_trainings:
        raise BadInput(
            f"max_trainings {asked} is above this server's limit of {max_trainings} trainings per job",
            field="pruning.max_trainings",
            value=asked,
            remedy=remedy,
        )
    if (asked or max_trainings) < seeds:
        raise BadInput(
            f"{seeds} seeds need at least {seeds} trainings, the limit is {asked or max_trainings}",
            field="training.seeds",
            value=seeds,
            remedy="Ask for fewer seeds or allow more trainings.",
        )
    trainings = wanted_plans(request, filter_criteria(offered), devices) * seeds
    if asked is None and trainings > max_trainings:
        raise BadInput(
            f"this asks for {trainings} trainings, the limit of this server is {max_trainings} per job",
            field="pruning",
            value=trainings,
            remedy=remedy,
            code="too_many_trainings",
        )
