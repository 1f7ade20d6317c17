"""Which criterion says what channels go where the one that is asked for has no scores of filters."""

from __future__ import annotations

from collections.abc import Collection

from layerprune.api.pruning import PruningSpec
from layerprune.criteria import get

_DEFAULT = "weight_l1"


def with_guide(spec: PruningSpec) -> list[str]:
    """The criteria to score for a job: its own, and one that says which channels go if none of them can."""
    able = [name for name in spec.criteria if get(name).has_filter_form and not get(name).is_control]
    return spec.criteria if able or spec.methods == ["layer"] else [*spec.criteria, _DEFAULT]


def guide(criterion: str, scored: Collection[str], spec: PruningSpec) -> str:
    """``criterion`` if it has filter scores, else the first of the job's that has; the control last, "" for none."""
    if criterion in scored:
        return criterion
    order = {name: place for place, name in enumerate(with_guide(spec))}
    return min(scored, key=lambda name: (get(name).is_control, order.get(name, len(order)), name), default="")
