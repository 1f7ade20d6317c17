"""Refuse latency targets that no plan can be chosen by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from layerprune.api.errors import BadInput
from layerprune.api.jobs import JobRequest
from layerprune.api.pruning import Target, TargetLists


def check_targets(request: JobRequest, devices: Sequence[str]) -> None:
    """Raise BadInput for a target out of range, or for a device or condition that the job does not measure."""
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
        ("backend", target.backend, wanted.backend_list()),
        ("precision", target.precision, wanted.precisions),
        ("batch_size", target.batch_size, wanted.batch_sizes),
        ("threads", target.threads, wanted.threads),
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
