"""When a latency target is met, for all who search: the server's rounds, the worker's searches, the budget by hand."""

from __future__ import annotations

from layerprune.api.pruning import Family

MET = 0.97
"""A target T is met by what is measured in [MET T, T]."""


def is_met(measured: float, target: float, *, family: Family, predicted: float) -> bool:
    """Whether a solution is within its target and no nearer one is to be hoped for; all are ratios to the base.

    Layers come in coarse steps: below the target they have done their best if the prediction held.
    """
    if MET * target <= measured <= target:
        return True
    held = abs(measured - predicted) <= (1 - MET) * target
    return family == "layer" and measured < target and held
