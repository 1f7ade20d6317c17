"""The conformance table of TensorRT: a real TensorRT for RTX builds what pruning leaves, without a GPU.

Each network comes as it is, with layers, with filters and with both removed. Each of these is built once, with an open
batch of 1 to 8; precision and card go round, so that over the table every family meets every precision and every card.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import fx, nn
from torchvision.models.densenet import DenseNet
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from layerprune.api.network import Preprocess
from layerprune.api.precision import form_of
from layerprune.data.feed import Feed, MemoryFeed
from layerprune.export import export_onnx
from layerprune.planning.filters import FilterPlanner
from layerprune.precision import prepare
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.layers import find_layers
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_, without_layers
from layerprune.structure.trace import trace
from workers.harness.backends.tensorrt.building import BuildOptions, build
from workers.harness.backends.tensorrt.compat import find_library

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")

CLASSES = 10
CARDS = ("SM86", "SM89", "SM120")
FAMILIES = ("base", "layer", "filter", "hybrid")
FORMS = {precision: form_of("tensorrt-rtx", precision) for precision in ("fp32", "fp16", "int8")}


@dataclass(frozen=True)
class Network:
    """A network at a small input, and the families that prune it."""

    name: str
    build: Callable[[], nn.Module]
    size: int = 32
    families: tuple[str, ...] = FAMILIES


def torchvision_network(name: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The default weight initialization", FutureWarning)
        model: nn.Module = torchvision.models.get_model(name, num_classes=CLASSES)
        return model


def timm_network(name: str, **small: Any) -> nn.Module:
    model: nn.Module = timm.create_model(name, num_classes=CLASSES, **small)
    return model


def bottlenecks() -> nn.Module:
    """ResNet-50's blocks, thinner and fewer."""
    return ResNet(Bottleneck, [2, 2, 2, 2], num_classes=CLASSES, width_per_group=16)


def vgg() -> nn.Module:
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
    return DenseNet(growth_rate=8, block_config=(3, 4, 3), num_init_features=16, num_classes=CLASSES)


def listed(source: str, names: str) -> list[Network]:
    make = torchvision_network if source == "torchvision" else timm_network
    return [Network(f"{source}:{name}", partial(make, name)) for name in names.split()]


NETWORKS = [
    *listed("torchvision", "resnet18 mobilenet_v2 mobilenet_v3_small regnet_y_400mf"),
    *listed("timm", "convnext_atto"),
    Network(
        "torchvision:efficientnet_b0", partial(torchvision_network, "efficientnet_b0"), families=("layer", "hybrid")
    ),
    Network(
        "torchvision:shufflenet_v2_x1_0", partial(torchvision_network, "shufflenet_v2_x1_0"), families=("base", "layer")
    ),
    Network("torchvision:resnet50", bottlenecks),
    Network("torchvision:vgg16_bn", vgg),
    Network("torchvision:densenet", densenet, families=("base", "filter")),
    Network("torchvision:vit", vision_transformer),
    Network("timm:deit_tiny", partial(timm_network, "deit_tiny_patch16_224", img_size=32, depth=3)),
    Network("torchvision:swin", swin, size=64, families=("base", "filter")),
]


class Variants:
    """A network whose batch norms have seen images, and what each family leaves of it."""

    def __init__(self, network: Network) -> None:
        generator = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        pixels = torch.randint(0, 256, (8, 3, network.size, network.size), generator=generator, dtype=torch.uint8)
        preprocess = Preprocess(size=network.size, channels=3, mean=[0.5] * 3, std=[0.25] * 3)
        self.images: Feed = MemoryFeed(pixels, torch.zeros(8, dtype=torch.int64), preprocess)
        self.example = self.images.first(2)
        model = network.build().train()
        with torch.no_grad():
            model(self.images.first(8))
        self.base = trace(model.eval(), self.example)
        self._generator = generator

    def make(self, family: str) -> fx.GraphModule:
        if family == "base":
            return self.base
        plan = {"layer": self._layers, "filter": self._filters, "hybrid": self._hybrid}[family]()
        assert plan.remove or plan.prune
        return apply_plan_(copy.deepcopy(self.base), plan, self.example)

    def _layers(self) -> Plan:
        layers = [layer.name for layer in find_layers(self.base) if layer.default][::2]
        return Plan("layer", "test", architecture_hash(self.base), remove=tuple(layers))

    def _filters(self, graph: fx.GraphModule | None = None) -> Plan:
        graph = graph or self.base
        scores = {
            name: torch.rand(module.weight.shape[0], generator=self._generator)
            for name, module in graph.named_modules()
            if isinstance(module, (nn.Conv2d, nn.Linear))
        }
        planner = FilterPlanner(graph, self.example)
        return planner.plan(
            planner.rank(scores), criterion="test", ratio=0.3, alignment=8, scope="uniform", min_channels=4
        )

    def _hybrid(self) -> Plan:
        """The last layer that can go, and then channels of what is left."""
        layer = [layer for layer in find_layers(self.base) if layer.default][-1]
        plan = self._filters(without_layers(self.base, [layer]))
        base = architecture_hash(self.base)
        return dataclasses.replace(plan, method="hybrid", scope=None, base_architecture=base, remove=(layer.name,))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Case:
    """What is built: a family of a network, in a precision, for a card."""

    network: Network
    family: str
    precision: str
    card: str


def cases() -> list[Case]:
    found = []
    for number, network in enumerate(NETWORKS):
        for family in network.families:
            turn = number + FAMILIES.index(family)
            precision, card = list(FORMS)[turn % 3], CARDS[(turn + number // 3) % 3]
            found.append(Case(network, family, precision, card))
    return found


def test_every_family_meets_every_precision_and_every_card() -> None:
    families = len(FAMILIES)
    assert len({(case.family, case.precision) for case in cases()}) == families * len(FORMS)
    assert len({(case.family, case.card) for case in cases()}) == families * len(CARDS)
    assert len({(case.precision, case.card) for case in cases()}) == len(FORMS) * len(CARDS)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_every_family_is_built(network: Network, tmp_path: Path) -> None:
    variants, library = Variants(network), find_library("tensorrt-rtx")
    for case in [case for case in cases() if case.network is network]:
        path = tmp_path / f"{case.family}.onnx"
        export_onnx(variants.make(case.family), variants.example, path)
        form = FORMS[case.precision]
        if form is not None:
            prepare(path, path.with_suffix(f".{form}.onnx"), form, variants.images)
            path = path.with_suffix(f".{form}.onnx")
        options = BuildOptions(
            shape=(4, *variants.images.shape),
            smallest=(1, *variants.images.shape),
            largest=(8, *variants.images.shape),
            precision=case.precision,
            capability=case.card,
        )
        engine = build(path.read_bytes(), library, options)
        assert engine.layers > 10
        assert len(engine.plan) > 10_000
