"""Refuse early what cannot work: every name, number and combination that the server can know of."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from layerprune.api.catalogue import BackendInfo, Catalogue
from layerprune.api.errors import BadInput, UnknownName
from layerprune.api.jobs import JobRequest
from layerprune.api.network import rival_hash
from layerprune.api.pruning import PruningSpec, TargetLists

from .conditions import conditions
from .estimate import wanted_plans
from .runtimes import check_runtimes
from .targets import check_targets


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
    _check_path(request)
    _check_lists(request)
    _check_filters(request.pruning, offered)
    _check_preprocess(request)
    chosen = _choose_devices(request, devices)
    for device in chosen:
        check_runtimes(request, device.name, device.backends)
    check_targets(request, [device.name for device in chosen])
    places = sum(len(conditions(request, device.backends)) for device in chosen)
    _check_amount_of_work(request, offered, places, max_trainings)
    return chosen


def filter_criteria(offered: Catalogue) -> set[str]:
    """The criteria that score filters as well as layers."""
    return {criterion.name for criterion in offered.criteria if criterion.has_filter_form}


def _check_names(request: JobRequest, offered: Catalogue) -> None:
    known_models = [model.name for model in offered.models]
    if request.model.onnx is None and request.model.name not in known_models:
        raise UnknownName("model", request.model.name, known_models, field="model.name")
    for i, rival in enumerate(request.rivals):
        if rival.name not in known_models:
            raise UnknownName("model", rival.name, known_models, field=f"rivals.{i}.name")
    known_sets = [dataset.name for dataset in offered.datasets]
    own = request.dataset.path is not None or request.dataset.upload is not None
    if not own and request.dataset.name not in known_sets:
        raise UnknownName("dataset", request.dataset.name, known_sets, field="dataset.name")
    known_criteria = [criterion.name for criterion in offered.criteria]
    for i, name in enumerate(request.pruning.criteria):
        if name not in known_criteria:
            raise UnknownName("criterion", name, known_criteria, field=f"pruning.criteria.{i}")


def _check_path(request: JobRequest) -> None:
    if (path := request.dataset.path) is None:
        return
    if not path or ".." in PurePosixPath(path).parts or "\x00" in path:
        raise BadInput(
            f"the path {path!r} may lead anywhere",
            field="dataset.path",
            value=path,
            remedy="Name a folder or file below a data root of the workers, without '..'.",
        )


def _check_lists(request: JobRequest) -> None:
    lists: dict[str, Sequence[Hashable]] = {
        "pruning.criteria": request.pruning.criteria,
        "pruning.methods": request.pruning.methods,
        "pruning.amounts": request.pruning.amounts or [],
        "pruning.filters.alignments": request.pruning.filters.alignments,
        "pruning.filters.scopes": request.pruning.filters.scopes,
        "rivals": [rival_hash(rival) for rival in request.rivals],
        "training.seeds": request.training.seeds,
        "measure.devices": request.measure.devices,
        "measure.batch_sizes": request.measure.batch_sizes,
        "measure.threads": request.measure.threads,
        "measure.precisions": request.measure.precisions,
        "measure.backends": request.measure.backends,
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


def _check_amount_of_work(request: JobRequest, offered: Catalogue, places: int, max_trainings: int) -> None:
    asked, seeds = request.pruning.max_trainings, len(request.training.seeds)
    remedy = f"Set pruning.max_trainings to at most {max_trainings}, or ask for fewer criteria, targets or seeds."
    if asked is not None and asked > max_trainings:
        raise BadInput(
            f"max_trainings {asked} is above this server's limit of {max_trainings} trainings per job",
            field="pruning.max_trainings",
            value=asked,
            remedy=remedy,
        )
    least = seeds * (1 + len(request.rivals))
    if (asked or max_trainings) < least:
        rivals = f" with {len(request.rivals)} rivals" if request.rivals else ""
        raise BadInput(
            f"{seeds} seeds{rivals} need at least {least} trainings, the limit is {asked or max_trainings}",
            field="training.seeds",
            value=seeds,
            remedy="Ask for fewer seeds or rivals, or allow more trainings.",
        )
    trainings = (wanted_plans(request, filter_criteria(offered), places) + len(request.rivals)) * seeds
    if asked is None and trainings > max_trainings:
        raise BadInput(
            f"this asks for {trainings} trainings, the limit of this server is {max_trainings} per job",
            field="pruning",
            value=trainings,
            remedy=remedy,
            code="too_many_trainings",
        )
