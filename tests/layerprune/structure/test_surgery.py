from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, fx, nn

from layerprune import models
from layerprune.api.errors import BadInput
from layerprune.structure.architecture import architecture_hash, outline
from layerprune.structure.layers import find_layers
from layerprune.structure.macs import count_params
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace


def calibrated(name: str, size: int) -> nn.Module:
    """A random network whose batch norms have seen data: its outputs are of ordinary size."""
    model = models.build(name, classes=10, seed=3).train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(5):
            model(torch.rand(8, 3, size, size, generator=generator))
    return model.eval()


def without(model: nn.Module, blocks: Sequence[str]) -> nn.Module:
    """The same network, built with an identity in place of each block."""
    reference = copy.deepcopy(model)
    for block in blocks:
        reference.set_submodule(block, nn.Identity())
    return reference


def layer_plan(graph: fx.GraphModule, remove: Sequence[str]) -> Plan:
    return Plan("layer", "test", architecture_hash(graph), remove=tuple(remove))


@pytest.mark.parametrize(
    ("name", "size", "chosen"),
    [
        ("cifar:resnet20", 16, slice(0, 1)),
        ("cifar:resnet20", 16, slice(None)),
        ("torchvision:resnet18", 64, slice(1, 3)),
        ("torchvision:resnet18", 64, slice(None)),
        ("torchvision:resnet50", 64, slice(0, 5)),
        ("torchvision:mobilenet_v2", 64, slice(None)),
        ("torchvision:shufflenet_v2_x1_0", 64, slice(0, 4)),
    ],
)
def test_removal_equals_the_network_built_without_the_blocks(name: str, size: int, chosen: slice) -> None:
    model = calibrated(name, size)
    images = torch.rand(2, 3, size, size)
    graph = trace(copy.deepcopy(model), images)
    blocks = [layer.name for layer in find_layers(graph) if layer.default][chosen]
    apply_plan_(graph, layer_plan(graph, blocks), images)
    reference = without(model, blocks)
    with torch.no_grad():
        expected = reference(images)
        assert torch.equal(graph(images), expected)
    assert float(expected.std()) > 1e-3, "a network that says nothing would agree with anything"
    assert count_params(graph) == count_params(reference) < count_params(model)


def test_what_is_removed_is_what_the_layer_said_it_saves() -> None:
    images = torch.rand(1, 3, 16, 16)
    graph = trace(models.build("cifar:resnet20", classes=10), images)
    layer = next(layer for layer in find_layers(graph) if layer.name == "layer2.1")
    params, macs = count_params(graph), sum(node.meta["macs"] for node in graph.graph.nodes)
    apply_plan_(graph, layer_plan(graph, ["layer2.1"]), images)
    assert count_params(graph) == params - layer.params
    assert sum(node.meta["macs"] for node in graph.graph.nodes) == macs - layer.macs
    assert not any(name.startswith("layer2.1") for name in graph.state_dict())


def test_a_pruned_graph_trains_and_its_batch_norm_follows() -> None:
    images = torch.rand(4, 3, 16, 16)
    graph = trace(models.build("cifar:resnet20", classes=10), images)
    apply_plan_(graph, layer_plan(graph, ["layer1.0", "layer3.2"]), images)
    graph.train()
    running = graph.get_buffer("layer1.1.bn1.running_mean").clone()
    graph(images).sum().backward()
    assert not torch.equal(running, graph.get_buffer("layer1.1.bn1.running_mean"))
    assert all(parameter.grad is not None for parameter in graph.parameters())


def test_a_pruned_graph_can_be_pruned_again() -> None:
    images = torch.rand(2, 3, 16, 16)
    model = calibrated("cifar:resnet20", 16)
    graph = trace(copy.deepcopy(model), images)
    for block in ("layer1.1", "layer1.0"):
        apply_plan_(graph, layer_plan(graph, [block]), images)
    assert torch.equal(graph(images), without(model, ["layer1.0", "layer1.1"])(images))


def test_an_outer_layer_takes_the_inner_one_along() -> None:
    images = torch.rand(2, 3, 16, 16)
    model = calibrated("cifar:resnet20", 16)
    graph = trace(copy.deepcopy(model), images)
    apply_plan_(graph, layer_plan(graph, ["layer1.1", "layer1.1.conv1"]), images)
    assert torch.equal(graph(images), without(model, ["layer1.1"])(images))


def test_assertions_and_in_place_operations_do_not_keep_a_layer_alive() -> None:
    class Asserting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.conv, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            inner = self.conv(x)
            torch._assert(inner.shape[1] == 4, "four channels")
            x = x + inner.relu_()
            out: Tensor = self.head(x)
            return out

    images = torch.rand(1, 3, 4, 4)
    graph = trace(Asserting(), images)
    layer = next(layer for layer in find_layers(graph) if layer.kind == "residual_block")
    apply_plan_(graph, layer_plan(graph, [layer.name]), images)
    assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["stem", "head"]
    assert count_params(graph) == 3 * 4 + 4 + 4 * 2 + 2


def test_a_plan_for_another_network_names_the_first_difference_and_changes_nothing() -> None:
    images = torch.rand(1, 3, 16, 16)
    graph = trace(models.build("cifar:resnet20", classes=10), images)
    code = graph.code
    for plan, word in [
        (layer_plan(graph, ["layer1.8"]), "layer1.8"),
        (Plan("layer", "test", "0" * 64, remove=("layer1.0",)), "0" * 12),
        (Plan("filter", "test", architecture_hash(graph), prune=(("fc", (0,)),)), "fc"),
        (Plan("filter", "test", architecture_hash(graph), prune=(("conv1", (99,)),)), "99"),
        (Plan("filter", "test", architecture_hash(graph), prune=(("conv1", tuple(range(16))),)), "all 16"),
    ]:
        with pytest.raises(BadInput, match=word):
            apply_plan_(graph, plan, images)
    assert graph.code == code


def test_an_outline_names_the_first_layer_that_differs() -> None:
    images = torch.rand(1, 3, 16, 16)
    graph = trace(models.build("cifar:resnet20", classes=10), images)
    other = trace(models.build("cifar:resnet20", classes=10, args={"width": 8}), images)
    plan = Plan("layer", "test", architecture_hash(other), remove=("layer1.0",), outline=outline(other))
    with pytest.raises(
        BadInput, match="place 1: conv1 Conv2d 8x3x3x3 -> 8x16x16 in the plan's network, conv1 Conv2d 16"
    ):
        apply_plan_(graph, plan, images)
    assert Plan.from_dict(plan.to_dict()) == plan
    assert plan.hash == replace(plan, outline=()).hash
