from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import Tensor, fx, nn
from torchvision.models.vision_transformer import VisionTransformer

from layerprune import models
from layerprune.api.errors import BadInput
from layerprune.planning.filters import FilterPlanner, Scope, filter_plan
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.macs import count, count_params
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def graph() -> fx.GraphModule:
    return trace(models.build("cifar:resnet20", classes=10, seed=1).eval(), IMAGES)


def random_scores(graph: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(module.out_channels, generator=generator)
        for name, module in graph.named_modules()
        if isinstance(module, nn.Conv2d)
    }


def widths(graph: nn.Module) -> dict[str, int]:
    return {name: module.out_channels for name, module in graph.named_modules() if isinstance(module, nn.Conv2d)}


def test_the_lowest_channels_of_a_plain_convolution_go(graph: fx.GraphModule) -> None:
    scores = random_scores(graph)
    scores["layer1.0.conv1"] = torch.tensor([float(channel) for channel in range(16)]).flip(0)
    plan = filter_plan(graph, IMAGES, scores, criterion="test", ratio=0.25)
    assert dict(plan.prune)["layer1.0.conv1"] == (12, 13, 14, 15)


def test_a_stage_loses_the_channels_with_the_lowest_mean_over_its_convolutions(graph: fx.GraphModule) -> None:
    scores = {name: torch.zeros(width) for name, width in widths(graph).items()}
    writers = ["conv1", "layer1.0.conv2", "layer1.1.conv2", "layer1.2.conv2"]
    for place, name in enumerate(writers):
        scores[name] = torch.ones(16)
        scores[name][place] = 0.0
        scores[name][9] = 0.5  # in no convolution the lowest, but on average
    plan = filter_plan(graph, IMAGES, scores, criterion="test", ratio=1 / 16, min_channels=1)
    assert dict(plan.prune)["conv1"] == (9,)


def test_kept_channels_keep_their_weights(graph: fx.GraphModule) -> None:
    plan = filter_plan(graph, IMAGES, random_scores(graph), criterion="test", ratio=0.5)
    pruned = apply_plan_(copy.deepcopy(graph), plan, IMAGES)
    gone = {name: set(channels) for name, channels in plan.prune}
    inner = [channel for channel in range(16) if channel not in gone["layer1.0.conv1"]]
    stage = [channel for channel in range(16) if channel not in gone["conv1"]]
    expected = graph.get_parameter("layer1.0.conv1.weight")[inner][:, stage]
    assert torch.equal(pruned.get_parameter("layer1.0.conv1.weight"), expected)
    assert torch.equal(pruned.get_parameter("fc.bias"), graph.get_parameter("fc.bias"))
    assert pruned(IMAGES).shape == (2, 10)


def test_a_plan_replays_exactly_from_json(graph: fx.GraphModule) -> None:
    plan = filter_plan(graph, IMAGES, random_scores(graph), criterion="test", ratio=0.3, scope="global")
    once = apply_plan_(copy.deepcopy(graph), plan, IMAGES)
    again = apply_plan_(copy.deepcopy(graph), Plan.from_dict(json.loads(json.dumps(plan.to_dict()))), IMAGES)
    state, other = once.state_dict(), again.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(state[key], other[key]) for key in state)


@pytest.mark.parametrize("scope", ["uniform", "global"])
@pytest.mark.parametrize("alignment", [1, 8, 16])
@pytest.mark.parametrize("ratio", [0.1, 0.4, 0.7, 1.0])
def test_widths_are_aligned_and_above_the_floor(
    graph: fx.GraphModule, scope: Scope, alignment: int, ratio: float
) -> None:
    plan = filter_plan(
        graph,
        IMAGES,
        random_scores(graph),
        criterion="t",
        ratio=ratio,
        alignment=alignment,
        scope=scope,
        min_channels=6,
    )
    before, after = widths(graph), widths(apply_plan_(copy.deepcopy(graph), plan, IMAGES))
    for name, width in after.items():
        assert width % alignment == 0
        assert width >= 6
        if before[name] <= alignment:
            assert width == before[name]


def test_uniform_widths_do_not_depend_on_the_scores(graph: fx.GraphModule) -> None:
    planner = FilterPlanner(graph, IMAGES)
    plans = [
        planner.plan(
            planner.rank(random_scores(graph, seed)),
            criterion="t",
            ratio=0.4,
            alignment=8,
            scope="uniform",
            min_channels=4,
        )
        for seed in (0, 1)
    ]
    assert planner.widths(plans[0]) == planner.widths(plans[1])
    assert plans[0].prune != plans[1].prune


def test_uniform_takes_the_fraction_it_was_asked_for(graph: fx.GraphModule) -> None:
    planner = FilterPlanner(graph, IMAGES)
    ranking = planner.rank(random_scores(graph))
    total = sum(group.width for group in planner.groups)
    for alignment, slack in [(1, 3), (8, 3 * 8)]:
        for ratio in (0.1, 0.25, 0.4):
            plan = planner.plan(
                ranking, criterion="t", ratio=ratio, alignment=alignment, scope="uniform", min_channels=4
            )
            assert abs(sum(planner.widths(plan)) - total * (1 - ratio)) <= slack


def test_global_spares_the_groups_whose_scores_are_even(graph: fx.GraphModule) -> None:
    scores = {name: torch.ones(width) for name, width in widths(graph).items()}
    scores["layer3.0.conv1"][:32] = 0.01
    plan = filter_plan(graph, IMAGES, scores, criterion="t", ratio=32 / 448, scope="global")
    assert dict(plan.prune) == {"layer3.0.conv1": tuple(range(32))}


def test_equal_scores_still_prune_and_go_by_position(graph: fx.GraphModule) -> None:
    scores = {name: torch.ones(width) for name, width in widths(graph).items()}
    plan = filter_plan(graph, IMAGES, scores, criterion="t", ratio=0.5)
    assert dict(plan.prune)["conv1"] == tuple(range(8))


def test_groups_without_scores_stay_whole(graph: fx.GraphModule) -> None:
    plan = filter_plan(graph, IMAGES, {"layer2.0.conv1": torch.rand(32)}, criterion="t", ratio=0.5)
    assert [name for name, _ in plan.prune] == ["layer2.0.conv1"]


@pytest.mark.parametrize("name", ["cifar:resnet20", "torchvision:resnext50_32x4d", "torchvision:mobilenet_v2"])
def test_the_outcome_foretold_is_the_outcome(name: str) -> None:
    images = torch.rand(1, 3, 32, 32)
    base = trace(models.build(name, classes=10), images)
    before = {key: value.clone() for key, value in base.state_dict().items()}
    planner = FilterPlanner(base, images)
    plan = planner.plan(
        planner.rank(random_scores(base)), criterion="t", ratio=0.4, alignment=1, scope="uniform", min_channels=4
    )
    foretold = planner.outcome(plan)
    pruned = apply_plan_(copy.deepcopy(base), plan, images)
    assert foretold.architecture == architecture_hash(pruned)
    assert foretold.params == count_params(pruned)
    assert foretold.macs == planner.macs(plan) == count(pruned, images)
    assert all(torch.equal(before[key], value) for key, value in base.state_dict().items())


def test_scores_that_are_no_numbers_are_named(graph: fx.GraphModule) -> None:
    scores = random_scores(graph)
    scores["conv1"][3] = float("nan")
    with pytest.raises(BadInput, match="conv1"):
        filter_plan(graph, IMAGES, scores, criterion="t", ratio=0.5)


@pytest.mark.parametrize("ratio", [-0.1, 1.1])
def test_a_ratio_out_of_range_is_named(graph: fx.GraphModule, ratio: float) -> None:
    with pytest.raises(BadInput, match=str(ratio)):
        filter_plan(graph, IMAGES, random_scores(graph), criterion="t", ratio=ratio)


def test_of_a_transformer_only_the_hidden_widths_of_its_mlps_can_change() -> None:
    model = VisionTransformer(
        image_size=16, patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=5
    )
    planner = FilterPlanner(trace(model, IMAGES), IMAGES)
    hidden = [f"encoder.layers.encoder_layer_{number}.mlp.0" for number in range(2)]
    assert [(group.name, group.width) for group in planner.groups] == [(name, 16) for name in hidden]


def test_a_network_with_no_width_that_can_change_says_so() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 16), nn.Flatten(), nn.Unflatten(1, (2, 4)), nn.Flatten(), nn.Linear(8, 5))
    with pytest.raises(BadInput, match="filters of this network cannot be pruned: every size"):
        FilterPlanner(trace(model, IMAGES), IMAGES)


def test_pruning_is_silent(graph: fx.GraphModule, capfd: pytest.CaptureFixture[str]) -> None:
    plan = filter_plan(graph, IMAGES, random_scores(graph), criterion="t", ratio=0.5)
    apply_plan_(graph, plan, IMAGES)
    assert capfd.readouterr() == ("", "")
