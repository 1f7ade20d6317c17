"""The conformance table of filter pruning: what every network has to do, with the channels that each can lose.

Widths at which torch-pruning and tracing agree that they can change are counted by hand where a transformer leaves only
some of them.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, fx, nn
from torchvision.models.densenet import DenseNet
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from layerprune.api.errors import BadInput
from layerprune.export import check_onnx, export_onnx
from layerprune.models.onnx_import import load
from layerprune.planning.filters import FilterPlanner
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.channels import prune_
from layerprune.structure.layers import find_layers
from layerprune.structure.macs import count, count_params
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_, without_layers
from layerprune.structure.trace import trace

CLASSES = 10
KINDS = ("unaligned", "aligned", "hybrid")
RUN = ("unaligned", "hybrid")
"""Trained and exported: the hybrid's widths are aligned as well."""


@dataclass(frozen=True)
class Network:
    """A network at a small input; ``groups`` is how many widths can change, where that is worth counting by hand."""

    name: str
    build: Callable[[], nn.Module]
    size: int = 32
    groups: int | None = None


def torchvision_network(name: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The default weight initialization", FutureWarning)
        model: nn.Module = torchvision.models.get_model(name, num_classes=CLASSES)
        return model


def timm_network(name: str, **small: Any) -> nn.Module:
    model: nn.Module = timm.create_model(name, num_classes=CLASSES, **small)
    return model


def vgg() -> nn.Module:
    """VGG's features with a head that is not most of the network; the flattened channels have four places each."""
    features = torchvision.models.vgg16_bn(init_weights=False).features
    head = (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(512 * 4, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    return nn.Sequential(features, *head)


def vision_transformer() -> nn.Module:
    return VisionTransformer(
        image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=CLASSES
    )


def swin() -> nn.Module:
    return SwinTransformer([4, 4], 96, depths=[2, 2], num_heads=[3, 6], window_size=[7, 7], num_classes=CLASSES)


def densenet() -> nn.Module:
    """Every layer reads all before it; where 32 channels arrive, its first convolution keeps the width and can go."""
    return DenseNet(growth_rate=8, block_config=(3, 4, 3), num_init_features=16, num_classes=CLASSES)


def imported(name: str, folder: Path) -> nn.Module:
    """A network that went through an ONNX file."""
    torch.manual_seed(0)
    export_onnx(torchvision_network(name).eval(), torch.zeros(1, 3, 32, 32), folder / "uploaded.onnx")
    return load(folder / "uploaded.onnx", size=32).model


def listed(source: str, names: str) -> list[Network]:
    make = torchvision_network if source == "torchvision" else timm_network
    return [Network(f"{source}:{name}", partial(make, name)) for name in names.split()]


NETWORKS = [
    *listed("torchvision", "resnet18 resnet50 resnext50_32x4d mobilenet_v2 mobilenet_v3_small mnasnet1_0"),
    *listed("torchvision", "efficientnet_b0 regnet_y_400mf convnext_tiny"),
    *listed("timm", "mobilenetv3_small_100 regnety_004 repvgg_a0 convnext_atto"),
    Network("torchvision:vgg16_bn", vgg),
    Network("torchvision:densenet", densenet),
    Network("torchvision:vit", vision_transformer, groups=3),  # the hidden width of each MLP
    # besides the MLPs' the embedding, which every block reads and writes and which no reshape divides into heads
    Network("timm:vit_tiny", partial(timm_network, "vit_tiny_patch16_224", img_size=32, depth=3), groups=3 + 1),
    Network("timm:deit_tiny", partial(timm_network, "deit_tiny_patch16_224", img_size=32, depth=3), groups=3 + 1),
    Network("torchvision:swin", swin, size=64, groups=4),
    # and the embedding of the last stage
    Network(
        "timm:swin_tiny",
        partial(
            timm_network, "swin_tiny_patch4_window7_224", img_size=64, window_size=2, depths=(2, 2), num_heads=(3, 6)
        ),
        size=64,
        groups=4 + 1,
    ),
]
IMPORTED = ["resnet18", "mobilenet_v3_small"]


class Case:
    """A network whose batch norms have seen images, and what each kind of plan leaves of it."""

    def __init__(self, network: Network) -> None:
        self.network = network
        generator = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        self.images = torch.rand(4, 3, network.size, network.size, generator=generator)
        model = network.build().train()
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.Linear) and not module.weight.any():
                    nn.init.trunc_normal_(module.weight, std=0.02)  # timm starts some classifiers at zero
            for _ in range(2):  # a random network that saw no image says next to nothing
                model(torch.rand(8, *self.images.shape[1:], generator=generator))
        self.graph = trace(model.eval(), self.images)
        self.planner = FilterPlanner(self.graph, self.images)
        self.scores = {
            name: torch.rand(module.weight.shape[0], generator=generator)
            for name, module in self.graph.named_modules()
            if isinstance(module, (nn.Conv2d, nn.Linear))
        }
        self.plans = {kind: self._plan(kind) for kind in KINDS}
        self.pruned = {
            kind: apply_plan_(copy.deepcopy(self.graph), plan, self.images) for kind, plan in self.plans.items()
        }

    def _plan(self, kind: str) -> Plan:
        if kind == "hybrid":
            return self._hybrid()
        return self._filters(self.planner, alignment=8 if kind == "aligned" else 1)

    def _hybrid(self) -> Plan:
        """The last layer that can go, and then channels of what is left."""
        layers = find_layers(self.graph)
        layer = ([layer for layer in layers if layer.default] or layers)[-1]
        planner = FilterPlanner(without_layers(self.graph, [layer]), self.images)
        return dataclasses.replace(
            self._filters(planner, alignment=8),
            method="hybrid",
            scope=None,
            base_architecture=architecture_hash(self.graph),
            remove=(layer.name,),
        )

    def _filters(self, planner: FilterPlanner, *, alignment: int) -> Plan:
        return planner.plan(
            planner.rank(self.scores),
            criterion="test",
            ratio=0.3,
            alignment=alignment,
            scope="uniform",
            min_channels=4,
        )


@pytest.fixture(scope="module", params=[*NETWORKS, *IMPORTED], ids=lambda one: getattr(one, "name", f"onnx:{one}"))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """One network at a time: pytest runs all tests of one before it makes the next."""
    network = request.param
    if isinstance(network, str):
        network = Network(network, partial(imported, network, tmp_path_factory.mktemp("onnx")))
    return Case(network)


def test_widths_change_and_multiplications_fall(case: Case) -> None:
    base = count(case.graph, case.images)
    for kind, pruned in case.pruned.items():
        assert case.plans[kind].prune, kind
        assert count(pruned, case.images) < base, kind
        assert count_params(pruned) < 0.95 * count_params(case.graph), kind
    assert case.plans["hybrid"].remove
    widths = {group.name: group.width for group in case.planner.groups}
    assert case.network.groups in (None, len(widths))
    for name, gone in case.plans["aligned"].prune:
        assert (widths[name] - len(gone)) % 8 == 0, name


def test_channels_that_nobody_reads_can_go_without_a_trace(case: Case) -> None:
    """Set the weights that read the channels to zero: taking the channels out must then change nothing."""
    groups = [group for group in case.planner.groups if not _normalises(case.graph, {m.name for m in group.members})]
    names = {group.name for group in groups}
    cuts = [(name, gone) for name, gone in case.plans["unaligned"].prune if name in names]
    graph, gone_of = copy.deepcopy(case.graph), dict(cuts)
    with torch.no_grad():
        for group in groups:
            gone = set(gone_of.get(group.name, ()))
            for member in group.members:
                if member.side == "in":
                    pairs = zip(member.channels, member.of_group, strict=True)
                    _silence_(graph.get_submodule(member.name), [channel for channel, one in pairs if one in gone])
        pruned = copy.deepcopy(graph)
        prune_(pruned, groups, cuts)
        expected = graph(case.images)
        assert float((pruned(case.images) - expected).abs().max()) <= 1e-4 * float(expected.abs().max())
    assert cuts or "convnext" in case.network.name


@pytest.mark.parametrize("kind", RUN)
def test_the_pruned_network_trains(case: Case, kind: str) -> None:
    graph = copy.deepcopy(case.pruned[kind]).train()
    images = case.images[:3]  # another batch than it was traced with
    before = {name: parameter.detach().clone() for name, parameter in graph.named_parameters()}
    loss = nn.functional.cross_entropy(graph(images), torch.arange(3))
    loss.backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD(graph.parameters(), lr=0.01).step()
    assert torch.isfinite(loss)
    assert [name for name, parameter in graph.named_parameters() if parameter.grad is None] == []
    assert any(not torch.equal(before[name], parameter) for name, parameter in graph.named_parameters())


@pytest.mark.parametrize("kind", RUN)
def test_onnx_runtime_agrees_with_the_pruned_network(case: Case, kind: str, tmp_path: Path) -> None:
    graph = case.pruned[kind].eval()
    export_onnx(graph, case.images[:2], tmp_path / "net.onnx")
    reference, difference = check_onnx(tmp_path / "net.onnx", graph, case.images)
    assert reference.shape == (4, CLASSES)
    assert difference <= 1e-4


def test_a_network_that_shuffles_channels_says_that_its_filters_cannot_go() -> None:
    images = torch.rand(2, 3, 32, 32)
    graph = trace(torchvision_network("shufflenet_v2_x0_5").eval(), images)
    with pytest.raises(BadInput, match="filters of this network cannot be pruned: torch-pruning cannot follow") as told:
        FilterPlanner(graph, images)
    assert told.value.field == "pruning.methods"
    assert "layer" in (told.value.remedy or "")


def _normalises(graph: fx.GraphModule, names: set[str]) -> bool:
    """Whether a norm takes its mean over channels of the group, so that all others change when some go."""
    return any(
        isinstance(module, (nn.LayerNorm, nn.GroupNorm)) for name, module in graph.named_modules() if name in names
    )


def _silence_(module: nn.Module, channels: list[int]) -> None:
    weight = module.weight
    assert isinstance(weight, Tensor)
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        channels = sorted({channel % (module.in_channels // module.groups) for channel in channels})
    weight[:, channels] = 0
