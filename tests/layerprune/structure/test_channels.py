from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, fx, nn

from layerprune import models
from layerprune.structure.channels import ChannelGroup, _hidden, find_groups, prune_
from layerprune.structure.trace import trace

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def traced(name: str) -> fx.GraphModule:
    return trace(models.build(name, classes=10, seed=1).eval(), IMAGES)


def group_of(groups: tuple[ChannelGroup, ...], module: str) -> ChannelGroup:
    return next(group for group in groups if any(part.name == module and part.side == "out" for part in group.members))


def test_every_convolution_of_a_stage_is_coupled_and_none_is_forgotten() -> None:
    graph = traced("cifar:resnet20")
    groups = find_groups(graph, IMAGES)
    stage = {part.name for part in group_of(groups, "layer2.0.conv2").members if part.side == "out"}
    assert {"layer2.0.conv2", "layer2.0.shortcut.0", "layer2.1.conv2", "layer2.2.conv2"} <= stage
    producers = [part.name for group in groups for part in group.members if part.side == "out"]
    convolutions = [name for name, module in graph.named_modules() if isinstance(module, nn.Conv2d)]
    assert sorted(name for name in producers if name in convolutions) == sorted(convolutions)


def test_groups_stand_in_forward_order() -> None:
    names = [group.name for group in find_groups(traced("cifar:resnet20"), IMAGES)]
    assert names[:3] == ["conv1", "layer1.0.conv1", "layer1.1.conv1"]


@pytest.mark.parametrize("name", ["cifar:resnet20", "torchvision:resnet18", "torchvision:convnext_tiny"])
def test_outputs_and_inputs_are_in_no_group(name: str) -> None:
    graph = traced(name)
    groups = find_groups(graph, IMAGES)
    first, *_, last = [name for name, module in graph.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    sides = {(part.name, part.side) for group in groups for part in group.members}
    assert (last, "out") not in sides
    assert (first, "in") not in sides


def test_an_output_that_is_a_convolution_is_in_no_group() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4))
    assert [group.name for group in find_groups(trace(model, IMAGES), IMAGES)] == ["0"]


def test_grouped_convolutions_lose_the_same_places_of_each_part() -> None:
    graph = traced("torchvision:resnext50_32x4d")
    group = group_of(find_groups(graph, IMAGES), "layer1.0.conv1")
    assert (group.width, group.parts) == (128, 32)


@pytest.mark.parametrize("name", ["cifar:resnet20", "torchvision:resnext50_32x4d"])
def test_channels_that_nobody_reads_can_go_without_a_trace(name: str) -> None:
    """Set what follows the first quarter of each group to zero: taking them out must then change nothing."""
    graph = traced(name)
    groups = tuple(group for group in find_groups(graph, IMAGES) if not _normalises_over_channels(graph, group))
    cuts = []
    with torch.no_grad():
        for group in groups:
            size = group.width // group.parts
            gone = tuple(part * size + place for part in range(group.parts) for place in range(size // 4))
            cuts.append((group.name, gone))
            for member in group.members:
                if member.side == "in":
                    module = graph.get_submodule(member.name)
                    channels = [c for c, leader in zip(member.channels, member.of_group, strict=True) if leader in gone]
                    _silence_(module, channels)
        pruned = copy.deepcopy(graph)
        prune_(pruned, groups, cuts)
        torch.testing.assert_close(pruned(IMAGES), graph(IMAGES), rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in pruned.parameters()) < 0.8 * sum(p.numel() for p in graph.parameters())


def test_where_torch_pruning_loses_track_the_hidden_widths_of_the_mlps_remain() -> None:
    graph = traced("torchvision:swin_t")
    groups = find_groups(graph, IMAGES)
    hidden = [
        f"features.{stage}.{block}.mlp.0"
        for stage, blocks in ((1, 2), (3, 2), (5, 6), (7, 2))
        for block in range(blocks)
    ]
    assert [group.name for group in groups] == hidden
    assert [part.name for part in groups[0].members] == ["features.1.0.mlp.0", "features.1.0.mlp.3"]


class Rolling(nn.Module):
    """Channels-last, which torch-pruning cannot follow, with an MLP beside two that must stay."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.plain = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(), nn.Linear(16, 8))
        self.mixing = nn.Sequential(nn.Linear(8, 16), nn.Softmax(-1), nn.Linear(16, 8))
        self.shared = nn.Linear(8, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        places = self.embed(images).permute(0, 2, 3, 1)
        windows = places.view(-1, 4, 2, 4, 2, 8).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, 4, 8)
        windows = self.mixing(windows + self.plain(windows))
        windows = self.shared(self.shared(windows).relu())
        answer: Tensor = self.head(windows.mean((1, 2)))
        return answer


def test_hidden_widths_that_are_mixed_or_shared_are_no_groups() -> None:
    """Softmax divides by a sum over all channels; a layer that is called twice would have to lose them twice."""
    assert [group.name for group in _hidden(trace(Rolling().eval(), IMAGES))] == ["plain.0"]


def _normalises_over_channels(graph: fx.GraphModule, group: ChannelGroup) -> bool:
    return any(
        isinstance(graph.get_submodule(part.name), nn.LayerNorm) for part in group.members if part.side != "parameter"
    )


def _silence_(module: nn.Module, channels: list[int]) -> None:
    weight = module.weight
    assert isinstance(weight, Tensor)
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        per_part = module.in_channels // module.groups
        weight[:, sorted({channel % per_part for channel in channels})] = 0
    else:
        weight[:, channels] = 0
