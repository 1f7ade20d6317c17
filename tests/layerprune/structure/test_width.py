"""Convolutions that change the width: offered on request, and what follows them is rebuilt."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import Tensor, fx, nn

from layerprune.api.pruning import LayerOptions
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.layers import candidates_of, find_layers
from layerprune.structure.macs import count, count_params
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def unit(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]


def small_vgg() -> nn.Module:
    """Widths 4, 8, 8, 12 on 32, 16, 8 and 4 pixels; the units begin at 0, 4, 8 and 11."""
    head = [nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12 * 16, 5)]
    return nn.Sequential(
        *unit(3, 4), nn.MaxPool2d(2), *unit(4, 8), nn.MaxPool2d(2), *unit(8, 8), *unit(8, 12), *head
    ).eval()


def without(model: nn.Module, *names: str) -> fx.GraphModule:
    graph = trace(copy.deepcopy(model), IMAGES)
    return apply_plan_(graph, Plan("layer", "test", architecture_hash(graph), remove=names), IMAGES)


def test_vgg19_offers_its_four_widening_convolutions_on_request_only() -> None:
    model = torchvision.models.vgg19_bn(init_weights=False)
    graph = trace(model, IMAGES)
    # convolutions 1, 3, 5 and 9 of 16 (configuration E), numbered as torchvision numbers modules
    wide = [layer.name for layer in find_layers(graph, width_changing=True) if layer.rebuilds]
    assert wide == ["features.0", "features.7", "features.14", "features.27"]
    assert not any(layer.rebuilds for layer in find_layers(graph))


def test_options_say_which_layers_a_job_offers() -> None:
    layers = find_layers(trace(small_vgg(), IMAGES), width_changing=True)
    assert [layer.name for layer in candidates_of(layers, LayerOptions())] == ["8"]
    widths = candidates_of(layers, LayerOptions(width_changing=True))
    assert [(layer.name, layer.rebuilds) for layer in widths] == [("0", "4"), ("4", "8"), ("8", None), ("11", "16")]


def test_what_follows_gets_the_width_that_arrives_and_keeps_its_size() -> None:
    pruned = without(small_vgg(), "4")
    assert pruned.get_submodule("8").weight.shape == (8, 4, 3, 3)
    assert pruned(IMAGES).shape == (2, 5)
    # two poolings by 2 in a row became one by 4
    pools = [module for module in pruned.modules() if isinstance(module, nn.MaxPool2d)]
    assert {pool.kernel_size for pool in pools} == {2, (4, 4)}


def test_all_but_the_rebuilt_module_computes_what_it_did() -> None:
    model = small_vgg()
    pruned = without(model, "4")
    parts = list(model.children())
    with torch.no_grad():
        narrow: Tensor = nn.Sequential(*parts[:4], parts[7])(IMAGES)
        after = pruned.get_submodule("8")(narrow)
        assert torch.equal(pruned(IMAGES), nn.Sequential(*parts[9:])(after))


@pytest.mark.parametrize("removed", [("0",), ("11",), ("4", "8"), ("0", "4", "8", "11")])
def test_any_choice_of_layers_fits_runs_and_trains(removed: tuple[str, ...]) -> None:
    pruned = without(small_vgg(), *removed).train()
    pruned(IMAGES).sum().backward()
    assert all(parameter.grad is not None for parameter in pruned.parameters())


def test_a_linear_layer_behind_a_flattening_is_rebuilt_too() -> None:
    assert without(small_vgg(), "11").get_submodule("16").weight.shape == (5, 8 * 16)


@pytest.mark.parametrize("name", ["0", "4", "8", "11"])
def test_what_is_removed_is_what_the_layer_said_it_saves(name: str) -> None:
    model = small_vgg()
    layers = find_layers(trace(copy.deepcopy(model), IMAGES), width_changing=True)
    layer = next(layer for layer in layers if layer.name == name)
    pruned = without(model, name)
    assert count_params(pruned) == count_params(model) - layer.params
    assert count(pruned, IMAGES) == count(model, IMAGES) - layer.macs


def test_the_plan_decides_the_fresh_weights() -> None:
    model = small_vgg()
    torch.manual_seed(1)
    first = without(model, "4")
    torch.manual_seed(2)
    assert torch.equal(first(IMAGES), without(model, "4")(IMAGES))


def test_no_width_changes_before_a_shortcut() -> None:
    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            x = x + self.inner(x)
            out: Tensor = self.head(x.mean((2, 3)))
            return out

    assert not any(layer.rebuilds for layer in find_layers(trace(Shortcut(), IMAGES), width_changing=True))
