from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from layerprune import models
from layerprune.api.errors import BadInput
from layerprune.planning.schedule import Rescore, apply_in_steps
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.macs import count
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
CUTS = (("conv1", tuple(range(8))), ("layer1.0.conv1", tuple(range(6))), ("layer2.2.conv1", tuple(range(16))))


@pytest.fixture
def graph() -> fx.GraphModule:
    return trace(models.build("cifar:resnet20", classes=10, seed=1).eval(), IMAGES)


def plan_for(graph: fx.GraphModule, **changes: object) -> Plan:
    return Plan(criterion="test", base_architecture=architecture_hash(graph), **changes)  # type: ignore[arg-type]


def by_norm(graph: fx.GraphModule) -> dict[str, Tensor]:
    return {
        name: module.weight.detach().abs().sum((1, 2, 3))
        for name, module in graph.named_modules()
        if isinstance(module, nn.Conv2d)
    }


def carried_out(
    graph: fx.GraphModule, plan: Plan, look: Callable[[fx.GraphModule], object], rescore: Rescore | None = None
) -> tuple[fx.GraphModule, Plan, list[object]]:
    staged, seen = copy.deepcopy(graph), []
    stages = apply_in_steps(staged, plan, IMAGES, steps=3, rescore=rescore)
    while True:
        try:
            seen.append(look(next(stages)))
        except StopIteration as end:
            return staged, end.value, seen


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "layer", "remove": ("layer1.1", "layer2.1", "layer3.2")},
        {"method": "filter", "prune": CUTS},
        {"method": "hybrid", "remove": ("layer1.1", "layer2.1"), "prune": CUTS},
    ],
    ids=lambda changes: changes["method"],
)
def test_steps_lead_to_the_plans_architecture(graph: fx.GraphModule, changes: dict[str, object]) -> None:
    plan = plan_for(graph, **changes)
    once = apply_plan_(copy.deepcopy(graph), plan, IMAGES)
    staged, actual, macs = carried_out(graph, plan, lambda now: count(now, IMAGES), by_norm)
    assert architecture_hash(staged) == architecture_hash(once)
    assert macs == sorted(set(macs), reverse=True)  # type: ignore[type-var]
    assert len(macs) == 3
    replayed = apply_plan_(copy.deepcopy(graph), actual, IMAGES)
    assert torch.equal(replayed(IMAGES), staged(IMAGES))


def test_without_new_scores_the_plan_itself_comes_out(graph: fx.GraphModule) -> None:
    plan = plan_for(graph, method="filter", prune=CUTS)
    _, actual, _ = carried_out(graph, plan, lambda now: None)
    assert actual == plan


def test_widths_fall_in_equal_shares(graph: fx.GraphModule) -> None:
    plan = plan_for(graph, method="filter", prune=CUTS)
    _, _, widths = carried_out(graph, plan, lambda now: now.get_submodule("layer1.0.conv1").out_channels, by_norm)
    assert widths == [14, 12, 10]


def test_channels_are_chosen_by_what_training_made_of_them(graph: fx.GraphModule) -> None:
    plan = plan_for(graph, method="filter", prune=(("layer1.0.conv1", tuple(range(12))),))
    convolution = "layer1.0.conv1"

    def train(now: fx.GraphModule) -> None:
        with torch.no_grad():
            weight = now.get_parameter(f"{convolution}.weight")
            weight[-4:] = 0  # the last four become the least important

    with torch.no_grad():
        graph.get_parameter(f"{convolution}.weight").copy_(
            torch.arange(1.0, 17.0)[:, None, None, None].expand(16, 16, 3, 3)
        )
    _, actual, _ = carried_out(graph, plan, train, by_norm)
    # first 0 to 3; then the last four, which training has silenced; then, again, the last four that are left
    assert dict(actual.prune)[convolution] == (0, 1, 2, 3, *range(8, 16))


def test_layers_go_in_the_order_of_their_importance(graph: fx.GraphModule) -> None:
    plan = plan_for(graph, method="layer", remove=("layer1.1", "layer2.1", "layer3.2"))
    importance = {"layer1.1": 3.0, "layer2.1": 1.0, "layer3.2": 2.0}
    staged = copy.deepcopy(graph)
    left = []
    for now in apply_in_steps(staged, plan, IMAGES, steps=3, layer_importance=importance):
        left.append([name for name in plan.remove if any(m.startswith(f"{name}.") for m, _ in now.named_modules())])
    assert left == [["layer1.1", "layer3.2"], ["layer1.1"], []]


def test_layers_between_two_groups_go_first() -> None:
    model = nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5)),
    )
    base = trace(model.eval(), IMAGES)
    plan = plan_for(base, method="hybrid", remove=("2",), prune=(("0", tuple(range(16))),))
    staged, actual, depth = carried_out(
        base, plan, lambda now: sum(isinstance(m, nn.Conv2d) for m in now.modules()), by_norm
    )
    assert depth == [2, 2, 2]
    assert architecture_hash(staged) == architecture_hash(apply_plan_(copy.deepcopy(base), actual, IMAGES))


def test_a_plan_for_another_network_is_refused(graph: fx.GraphModule) -> None:
    plan = Plan("layer", "test", "0" * 64, remove=("layer1.1",))
    with pytest.raises(BadInput, match="000000000000"):
        next(apply_in_steps(graph, plan, IMAGES, steps=3))
