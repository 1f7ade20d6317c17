"""Criteria by name: how important a layer is and, where that has a meaning, a filter.

Adding one is a file with a class and a row of this table; reading the table imports neither the file nor torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from layerprune.api.catalogue import CriterionInfo
from layerprune.api.errors import UnknownName

if TYPE_CHECKING:
    from .base import Criterion


@dataclass(frozen=True)
class _Row:
    location: str  # "module:Class"
    info: CriterionInfo


_LAYERPRUNE = "Elkerdawy et al., To Filter Prune, or to Layer Prune, That Is The Question, ACCV 2020"

_ROWS = [
    _Row(
        "layerprune.criteria.weight_l1:WeightL1",
        CriterionInfo(
            name="weight_l1",
            description="Sum of the absolute weights of a filter; a layer's score is the mean over its filters.",
            source="Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017, section 3.1",
            needs_data=False,
            has_filter_form=True,
        ),
    ),
    _Row(
        "layerprune.criteria.weight_norm:WeightNorm",
        CriterionInfo(
            name="weight_norm",
            description="Sum of the squared weights of a filter; a layer's score is the mean over its filters.",
            source=f"{_LAYERPRUNE}, 'weights norm'",
            needs_data=False,
            has_filter_form=True,
        ),
    ),
    _Row(
        "layerprune.criteria.bn_scale:BatchNormScale",
        CriterionInfo(
            name="bn_scale",
            description="Absolute scale of the norm behind a filter; a layer's score is the mean over its filters.",
            source="Liu et al., Learning Efficient Convolutional Networks through Network Slimming, ICCV 2017",
            needs_data=False,
            has_filter_form=True,
        ),
    ),
    _Row(
        "layerprune.criteria.imprinting:Imprinting",
        CriterionInfo(
            name="imprinting",
            description="Rise of the accuracy of a nearest-class-mean classifier from the layer's input to its output.",
            source=f"{_LAYERPRUNE}, and One-Shot Layer-Wise Accuracy Approximation For Layer Pruning, ICIP 2020",
            needs_data=True,
            has_filter_form=False,
        ),
    ),
    _Row(
        "layerprune.criteria.block_influence:BlockInfluence",
        CriterionInfo(
            name="block_influence",
            description="One minus the mean cosine between the layer's input and its output.",
            source="Men et al., ShortGPT: Layers in LLMs are More Redundant Than You Expect, 2024, equation 1",
            needs_data=True,
            has_filter_form=False,
        ),
    ),
    _Row(
        "layerprune.criteria.random:Random",
        CriterionInfo(
            name="random",
            description="A seeded uniform draw: the control that every other criterion has to beat.",
            source="control",
            needs_data=False,
            has_filter_form=True,
            is_control=True,
        ),
    ),
]
_TABLE = {row.info.name: row for row in _ROWS}


def list_criteria() -> list[CriterionInfo]:
    """List every criterion that can be asked for."""
    return [row.info for row in _ROWS]


def get(name: str) -> Criterion:
    """Return the criterion of that name. Raises UnknownName."""
    if name not in _TABLE:
        raise UnknownName("criterion", name, _TABLE, field="pruning.criteria")
    row = _TABLE[name]
    module, _, attribute = row.location.partition(":")
    criterion: Criterion = getattr(import_module(module), attribute)(row.info)
    return criterion
