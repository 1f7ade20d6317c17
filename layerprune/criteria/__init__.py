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
    from .base import Criterion, ScoringContext


@dataclass(frozen=True)
class _Row:
    location: str  # "module:Class"
    info: CriterionInfo


_LAYERPRUNE = "Elkerdawy et al., To Filter Prune, or to Layer Prune, That Is The Question, ACCV 2020"
_MOLCHANOV = "Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019"

_ROWS = [
    _Row(
        "layerprune.criteria.weight_l1:WeightL1",
        CriterionInfo(
            name="weight_l1",
            description="Sum of the absolute weights of a filter; a layer's score is the mean over its filters.",
            source="Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017, section 3.1",
            needs_data=False,
            has_filter_form=True,
            costs_add_up=True,
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
            costs_add_up=True,
        ),
    ),
    _Row(
        "layerprune.criteria.weight_taylor:WeightTaylor",
        CriterionInfo(
            name="weight_taylor",
            description="Sum over a filter's weights of (weight times gradient) squared; a layer's is the mean.",
            source=f"{_LAYERPRUNE}, 'weights Taylor'; {_MOLCHANOV}, equation 8",
            needs_data=True,
            has_filter_form=True,
            needs_gradients=True,
            costs_add_up=True,
        ),
    ),
    _Row(
        "layerprune.criteria.activation_taylor:ActivationTaylor",
        CriterionInfo(
            name="activation_taylor",
            description="Mean |activation times gradient| of a filter, over the L2 norm of all; a layer's is the mean.",
            source=f"{_LAYERPRUNE}, 'feature maps'; Molchanov et al., ICLR 2017, equations 6 to 8",
            needs_data=True,
            has_filter_form=True,
            needs_gradients=True,
        ),
    ),
    _Row(
        "layerprune.criteria.gate_taylor:GateTaylor",
        CriterionInfo(
            name="gate_taylor",
            description="Squared slope of the loss at a gate behind the batch norm; a layer's is the mean.",
            source=f"{_LAYERPRUNE}, 'gate Taylor'; {_MOLCHANOV}, Taylor-FO-BN",
            needs_data=True,
            has_filter_form=True,
            needs_gradients=True,
            costs_add_up=True,
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
            needs_batch_norm=True,
        ),
    ),
    _Row(
        "layerprune.criteria.feature_map_rank:FeatureMapRank",
        CriterionInfo(
            name="feature_map_rank",
            description="Mean rank of a filter's feature map on a sample of images; a layer's is the mean.",
            source="Lin et al., HRank: Filter Pruning using High-Rank Feature Map, CVPR 2020, equation 4",
            needs_data=True,
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
        "layerprune.criteria.cka:CenteredKernelAlignment",
        CriterionInfo(
            name="cka",
            description="One minus the CKA of the last features with the layer bypassed and of the whole network.",
            source="Pons et al., Effective Layer Pruning Through Similarity Metric Perspective, arXiv 2405.17081",
            needs_data=True,
            has_filter_form=False,
        ),
    ),
    _Row(
        "layerprune.criteria.accuracy_drop:AccuracyDrop",
        CriterionInfo(
            name="accuracy_drop",
            description="Measured drop of the accuracy on the calibration images with the layer bypassed.",
            source="leave one out, on the accuracy",
            needs_data=True,
            has_filter_form=False,
        ),
    ),
    _Row(
        "layerprune.criteria.loss_increase:LossIncrease",
        CriterionInfo(
            name="loss_increase",
            description="Measured rise of the loss on the calibration images with the layer bypassed.",
            source="leave one out, on the loss",
            needs_data=True,
            has_filter_form=False,
        ),
    ),
    _Row(
        "layerprune.criteria.ensemble:Ensemble",
        CriterionInfo(
            name="ensemble",
            description="Sum of the layer's ranks by the other criteria of the job, or by a default set without such.",
            source=f"{_LAYERPRUNE}, 'ensemble'",
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
            costs_add_up=True,
            is_control=True,
        ),
    ),
]
_TABLE = {row.info.name: row for row in _ROWS}


def list_criteria() -> list[CriterionInfo]:
    """List every criterion that can be asked for."""
    return [row.info for row in _ROWS]


def get(name: str) -> CriterionInfo:
    """Describe the criterion of that name. Raises UnknownName."""
    if name not in _TABLE:
        raise UnknownName("criterion", name, _TABLE, field="pruning.criteria")
    return _TABLE[name].info


def create(name: str, context: ScoringContext) -> Criterion:
    """Make the criterion of that name for one pass over the context's data. Raises UnknownName and BadInput."""
    info = get(name)
    module, _, attribute = _TABLE[name].location.partition(":")
    criterion: Criterion = getattr(import_module(module), attribute)(info, context)
    return criterion
