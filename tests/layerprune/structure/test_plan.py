from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from layerprune.api.errors import BadInput
from layerprune.structure.plan import Plan

LAYERS = Plan("layer", "imprinting", "a" * 64, remove=("layer1.0", "layer2.1"))
FILTERS = Plan(
    "filter", "weight_l1", "a" * 64, prune=(("conv1", (0, 3)),), alignment=8, scope="uniform", min_channels=4
)


@pytest.mark.parametrize("plan", [LAYERS, FILTERS])
def test_a_plan_survives_json(plan: Plan) -> None:
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert again.hash == plan.hash


def test_the_hash_tells_edits_apart_but_not_criteria() -> None:
    assert replace(LAYERS, criterion="random").hash == LAYERS.hash
    assert replace(LAYERS, remove=("layer1.0",)).hash != LAYERS.hash
    assert replace(LAYERS, base_architecture="b" * 64).hash != LAYERS.hash
    assert replace(FILTERS, prune=(("conv1", (0, 2)),)).hash != FILTERS.hash


def test_a_plan_that_changes_nothing_is_empty() -> None:
    assert replace(LAYERS, remove=()).is_empty
    assert replace(FILTERS, prune=(("conv1", ()),)).is_empty
    assert not LAYERS.is_empty


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"method": "guess"}, "plan.method"),
        ({"remove": "layer1.0"}, "plan.remove"),
        ({"remove": ["layer1.0", "layer1.0"]}, "plan.remove"),
        ({"method": "filter", "remove": [], "prune": [["conv1", [-1]]]}, "plan.prune.conv1"),
        ({"method": "filter", "remove": [], "prune": [["conv1", [3, 0]]]}, "plan.prune.conv1"),
        ({"method": "filter", "remove": [], "prune": [["conv1", [0.5]]]}, "plan.prune.conv1"),
        ({"prune": {"conv1": [0]}}, "plan.prune"),
        ({"alignment": 0}, "plan.alignment"),
        ({"min_channels": True}, "plan.min_channels"),
        ({"scope": "local"}, "plan.scope"),
        ({"format": "other"}, "plan.format"),
        ({"extra": 1}, "plan.extra"),
    ],
)
def test_a_broken_plan_names_the_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as caught:
        Plan.from_dict({**LAYERS.to_dict(), **change})
    assert caught.value.field == field


def test_a_missing_field_is_named() -> None:
    data = LAYERS.to_dict()
    del data["criterion"]
    with pytest.raises(BadInput, match="criterion is missing"):
        Plan.from_dict(data)
