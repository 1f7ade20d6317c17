"""The conformance table: what every network has to do, and what is expected of each, counted by hand.

The counts come from the papers' tables and the libraries' definitions: blocks with stride 1 and equal width.
"""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, fx, nn
from torchvision.models.vision_transformer import VisionTransformer

from layerprune.export import check_onnx, export_onnx
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.layers import Layer, find_layers
from layerprune.structure.macs import count_params
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace

CLASSES, SIZE = 10, 64
ALL_ALONE = 10
"""Networks with more layers lose only some of them alone, to be done in time."""


@dataclass(frozen=True)
class Network:
    """A network with the layers it has by default, by kind.

    ``small`` are arguments that keep the test fast; ``narrow`` is a network of the same class with thinner layers.
    """

    name: str
    layers: Mapping[str, int]
    small: Mapping[str, Any] = field(default_factory=dict)
    narrow: Callable[[], nn.Module] | None = None

    def build(self) -> nn.Module:
        source, _, name = self.name.partition(":")
        torch.manual_seed(0)
        if self.narrow is not None:
            return self.narrow()
        if source == "torchvision":
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The default weight initialization", FutureWarning)
                model: nn.Module = torchvision.models.get_model(name, num_classes=CLASSES, **self.small)
                return model
        return timm.create_model(name, num_classes=CLASSES, **self.small)


def residual(count: int) -> Mapping[str, int]:
    return {"residual_block": count}


def transformer(blocks: int) -> Mapping[str, int]:
    return {"attention": blocks, "mlp": blocks}


def vgg(name: str) -> nn.Module:
    """The features of torchvision's VGG with a head that is not most of the network."""
    model: nn.Module = torchvision.models.get_model(name, init_weights=False)
    model.classifier = nn.Sequential(nn.Linear(512 * 49, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, CLASSES))
    return model


def vision_transformer() -> nn.Module:
    model: nn.Module = VisionTransformer(
        image_size=SIZE, patch_size=16, num_layers=12, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=CLASSES
    )
    return model


NETWORKS = [
    # first blocks of stages 2 to 4 have a projection: (2-0) + 3 * (2-1), (3-0) + (4-1) + (6-1) + (3-1)
    Network("torchvision:resnet18", residual(5)),
    Network("torchvision:resnet34", residual(13)),
    # bottlenecks widen in stage 1, too: 16 - 4, 33 - 4
    Network("torchvision:resnet50", residual(12)),
    Network("torchvision:resnet101", residual(29)),
    Network("torchvision:resnext50_32x4d", residual(12)),
    Network("torchvision:wide_resnet50_2", residual(12)),
    Network("torchvision:regnet_y_400mf", residual(12)),  # depths 1, 3, 6, 6 less the first of each
    # 2, 2, 3, 3, 3 (16) or 2, 2, 4, 4, 4 (19) convolutions per stage, of which the first of stages 1 to 4 widens
    Network("torchvision:vgg16_bn", {"conv": 9}, narrow=partial(vgg, "vgg16_bn")),
    Network("torchvision:vgg19_bn", {"conv": 12}, narrow=partial(vgg, "vgg19_bn")),
    Network("torchvision:mobilenet_v2", residual(10)),  # 17 blocks less the first of each of 7 settings
    Network("torchvision:mobilenet_v3_large", residual(10)),  # table 1: stride 1 and equal width
    Network("torchvision:mnasnet1_0", residual(10)),  # 3, 3, 3, 2, 4, 1 blocks less the first of each
    Network("torchvision:efficientnet_b0", residual(9)),  # 1, 2, 2, 3, 3, 4, 1 blocks less the first of each
    Network("torchvision:shufflenet_v2_x1_0", {"block": 13}),  # 4, 8, 4 units less the first of each
    Network("torchvision:convnext_tiny", residual(18)),  # 3, 3, 9, 3
    Network("torchvision:vit_b_16", transformer(12), narrow=vision_transformer),
    Network("torchvision:swin_t", transformer(12)),  # 2, 2, 6, 2
    Network("torchvision:densenet121", {}),  # every layer joins channels to its input, transitions halve them
    Network("timm:resnet18", residual(5)),
    Network("timm:resnet50", residual(12)),
    Network("timm:resnext50_32x4d", residual(12)),
    Network("timm:vgg19_bn", {"conv": 12}, small={"mlp_ratio": 1 / 64}),
    Network("timm:mobilenetv2_100", residual(10)),
    Network("timm:mobilenetv3_large_100", residual(10)),
    Network("timm:efficientnet_b0", residual(9)),
    Network("timm:regnety_004", residual(12)),
    Network("timm:repvgg_a0", residual(17)),  # 2, 4, 14, 1 less the first of each: 1 + 3 + 13 + 0
    Network("timm:convnext_tiny", residual(18)),
    Network("timm:vit_tiny_patch16_224", transformer(12), small={"img_size": SIZE}),
    Network("timm:deit_tiny_patch16_224", transformer(12), small={"img_size": SIZE}),
    Network("timm:swin_tiny_patch4_window7_224", transformer(12), small={"img_size": SIZE, "window_size": 2}),
    Network("timm:densenet121", {}),
]


class Case:
    """A network whose batch norms have seen images, its graph and its layers."""

    def __init__(self, network: Network) -> None:
        self.network = network
        generator = torch.Generator().manual_seed(0)
        self.images = torch.rand(4, 3, SIZE, SIZE, generator=generator)
        self.model = network.build().train()
        with torch.no_grad():
            for module in self.model.modules():
                if isinstance(module, nn.Linear) and not module.weight.any():
                    nn.init.trunc_normal_(module.weight, std=0.02)  # timm starts some classifiers at zero
            for _ in range(3):  # a random network that saw no image says next to nothing
                self.model(torch.rand(8, 3, SIZE, SIZE, generator=generator))
        self.model.eval()
        self.graph = trace(self.model, self.images)
        self.architecture = architecture_hash(self.graph)
        self.layers = [layer for layer in find_layers(self.graph) if layer.default]

    def pruned(self, layers: Sequence[Layer]) -> fx.GraphModule:
        plan = Plan("layer", "test", self.architecture, remove=tuple(layer.name for layer in layers))
        sketch = fx.GraphModule(self.graph, copy.deepcopy(self.graph.graph))  # shares the weights
        return apply_plan_(sketch.eval(), plan, self.images)

    @cached_property
    def half(self) -> fx.GraphModule:
        """Every second layer gone; with weights of its own."""
        return copy.deepcopy(self.pruned(self.layers[::2]))

    def reference(self, layers: Sequence[Layer]) -> Tensor:
        """What the model says when modules of it are put out of action; nothing of ours has a part in that."""
        with ExitStack() as undo:
            for layer in layers:
                for module, hook in self._out_of_action(layer):
                    undo.callback(module.register_forward_hook(hook).remove)
            with torch.no_grad():
                answer: Tensor = self.model(self.images)
        return answer

    def _out_of_action(self, layer: Layer) -> list[tuple[nn.Module, Callable[..., object]]]:
        module = self.model.get_submodule(layer.name)
        if layer.kind in ("attention", "mlp"):  # a branch beside the shortcut, which adds nothing then
            return [(module, _nothing)]
        if layer.kind == "conv":  # features.N, with batch norm and activation as N + 1 and N + 2
            parent, _, number = layer.name.rpartition(".")
            unit = [self.model.get_submodule(f"{parent}.{int(number) + place}") for place in range(3)]
            assert [type(part) for part in unit] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
            return [(part, _identity) for part in unit]
        return [(module, _identity)]


def _identity(module: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> Tensor:
    return given[0]


def _nothing(module: nn.Module, given: object, answer: Tensor | tuple[Tensor, object]) -> object:
    return torch.zeros_like(answer) if isinstance(answer, Tensor) else (torch.zeros_like(answer[0]), *answer[1:])


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda network: network.name)
def case(request: pytest.FixtureRequest) -> Case:
    """One network at a time: pytest runs all tests of one before it makes the next."""
    return Case(request.param)


def test_the_layers_that_people_would_count_are_found(case: Case) -> None:
    assert Counter(layer.kind for layer in case.layers) == Counter(case.network.layers)


def test_the_graph_says_what_the_model_says(case: Case) -> None:
    with torch.no_grad():
        answer = case.graph(case.images)
    assert torch.equal(answer, case.reference([]))
    assert float(answer.std()) > 1e-6, "a network that says nothing would agree with anything"


def test_each_removal_equals_the_model_without_the_module(case: Case) -> None:
    alone = case.layers if len(case.layers) <= ALL_ALONE else case.layers[:: len(case.layers) // 3]
    for layers in [*([layer] for layer in alone), case.layers[::2], case.layers]:
        with torch.no_grad():
            assert torch.equal(case.pruned(layers)(case.images), case.reference(layers)), [one.name for one in layers]


def test_the_pruned_network_trains(case: Case) -> None:
    graph = copy.deepcopy(case.half).train()
    assert count_params(graph) < count_params(case.model) or not case.layers
    images = case.images[:3]  # another batch than it was traced with
    optimizer = torch.optim.SGD(graph.parameters(), lr=0.01)
    before = {name: parameter.detach().clone() for name, parameter in graph.named_parameters()}
    loss = nn.functional.cross_entropy(graph(images), torch.arange(3))
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert torch.isfinite(loss)
    assert [name for name, parameter in graph.named_parameters() if parameter.grad is None] == []
    assert any(not torch.equal(before[name], parameter) for name, parameter in graph.named_parameters())


def test_onnx_runtime_agrees_with_the_pruned_network(case: Case, tmp_path: Path) -> None:
    export_onnx(case.half, case.images[:2], tmp_path / "net.onnx")
    reference, difference = check_onnx(tmp_path / "net.onnx", case.half, case.images)
    assert reference.shape == (4, CLASSES)
    assert difference <= 1e-4
