"""ONNX files that exporters wrote: as many layers as the network that was exported, prunable, trainable, exportable."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import MaxVit, SwinTransformer, VisionTransformer

from layerprune import models
from layerprune.export import check_onnx, export_onnx
from layerprune.models.onnx_import import load
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.layers import find_layers
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace


@dataclass(frozen=True)
class Row:
    """A network, how it is exported, and how many layers can go from it."""

    name: str
    layers: int
    size: int = 64
    args: tuple[tuple[str, Any], ...] = ()
    current: bool = False
    opset: int = 17
    dynamic: bool = False

    def __str__(self) -> str:
        return f"{self.name}-{'current' if self.current else 'older'}-{self.opset}-{'n' if self.dynamic else '1'}"


DEIT = (("depth", 2), ("img_size", 64))
ROWS = [
    Row("torchvision:resnet18", 5),
    Row("torchvision:resnet18", 5, opset=11, dynamic=True),
    Row("torchvision:mobilenet_v3_small", 7),
    Row("timm:efficientnet_b0", 9, opset=13, dynamic=True),
    Row("torchvision:shufflenet_v2_x0_5", 13, current=True, opset=18, dynamic=True),
    Row("timm:ghostnet_050", 11, opset=11, dynamic=True),
    Row("timm:regnety_002", 9, dynamic=True),
    Row("timm:deit_tiny_patch16_224", 4, args=DEIT),
    Row("timm:deit_tiny_patch16_224", 4, args=DEIT, current=True, opset=20),
    Row("small:swin", 8, opset=11, dynamic=True),
    Row("small:swin", 8, current=True, opset=18),
    Row("small:swin", 8, current=True, opset=20, dynamic=True),
    Row("small:vit", 4, size=32),
    Row("small:vit", 4, size=32, current=True, opset=18, dynamic=True),
    Row("small:maxvit", 9),
    Row("timm:edgenext_xx_small", 12, opset=11),
    Row("timm:convnext_atto", 12, size=32),
]
SMALL: dict[str, Callable[[], nn.Module]] = {
    "swin": lambda: SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=5),
    "vit": lambda: VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=5),
    "maxvit": lambda: MaxVit((64, 64), 16, 4, [16, 32], [1, 1], 8, 0.0, num_classes=5),
}
"""Large architectures with few and narrow blocks."""


def _made(row: Row) -> nn.Module:
    """The network with statistics and biases of its own, as if it had been trained."""
    torch.manual_seed(1)
    source, name = row.name.split(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SMALL[name]() if source == "small" else models.build(row.name, classes=5, args=dict(row.args), seed=1)
    with torch.no_grad():
        for parameter in model.parameters():  # an exporter leaves out a bias of zeros
            parameter += 0.01 * torch.randn_like(parameter)
        model.train()
        for _ in range(2):  # else the statistics of batch norm leave nothing of the signal
            model(torch.randn(4, 3, row.size, row.size))
    return model.eval()


def _exported(row: Row) -> tuple[nn.Module, bytes]:
    model = _made(row)
    example = torch.randn(2 if row.dynamic else 1, 3, row.size, row.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if row.current:
            shapes = ({0: torch.export.Dim("n")},) if row.dynamic else None
            program = torch.onnx.export(
                model, (example,), dynamo=True, opset_version=row.opset, dynamic_shapes=shapes, verbose=False
            )
            assert program is not None
            return model, program.model_proto.SerializeToString()
        file = BytesIO()
        axes = {"dynamic_axes": {"x": {0: "n"}}} if row.dynamic else {}
        torch.onnx.export(
            model,
            (example,),
            file,
            dynamo=False,
            opset_version=row.opset,
            input_names=["x"],
            output_names=["y"],
            **axes,
        )
        return model, file.getvalue()


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_an_exported_network_can_be_pruned_trained_and_exported_again(row: Row, tmp_path: Path) -> None:
    torch.manual_seed(0)
    original, file = _exported(row)
    imported = load(file, size=row.size)
    assert (imported.classes, imported.channels, imported.size) == (5, 3, row.size)
    images = torch.randn(4, 3, row.size, row.size)
    with torch.no_grad():
        torch.testing.assert_close(imported.model(images), original(images), rtol=1e-3, atol=1e-4)

    graph = trace(imported.model, images[:2])
    layers = [layer for layer in find_layers(graph) if layer.default]
    assert len(layers) == row.layers
    plan = Plan(method="layer", criterion="x", base_architecture=architecture_hash(graph), remove=(layers[-1].name,))
    before = sum(parameter.numel() for parameter in graph.parameters())
    apply_plan_(graph, plan, images[:2])
    assert sum(parameter.numel() for parameter in graph.parameters()) < before

    graph.train()
    loss = nn.functional.cross_entropy(graph(images), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    weights = {name: parameter for name, parameter in graph.named_parameters() if parameter.ndim > 1}
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in weights.values())
    torch.optim.SGD(graph.parameters(), lr=1e-3).step()

    graph.eval()
    export_onnx(graph, images[:2], tmp_path / "again.onnx")
    check_onnx(tmp_path / "again.onnx", graph, images)


def test_layers_keep_the_names_that_they_had() -> None:
    _, file = _exported(Row("torchvision:resnet18", 5))
    graph = load(file).model
    names = {name for name, module in graph.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))}
    assert {"conv1", "layer1.0.conv1", "layer4.1.conv2", "layer2.0.downsample.0", "fc"} <= names


def test_the_same_file_gives_the_same_network_every_time() -> None:
    _, file = _exported(Row("torchvision:shufflenet_v2_x0_5", 13))
    first, second = (load(file).model.state_dict() for _ in range(2))
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    "row",
    [
        Row("torchvision:resnet18", 5),
        Row("timm:deit_tiny_patch16_224", 4, args=DEIT),
        Row("small:swin", 8),
        Row("small:swin", 8, current=True, opset=18),
        Row("timm:convnext_tiny", 18, size=32, args=(("depths", (1, 1, 1, 1)),)),
    ],
    ids=str,
)
def test_what_was_a_parameter_is_one_again_and_nothing_else(row: Row) -> None:
    original, file = _exported(row)
    # Batch norm comes folded into the convolution before it: one bias per channel instead of a factor and a shift.
    folded = sum(module.num_features for module in original.modules() if isinstance(module, nn.BatchNorm2d))
    assert _parameters(load(file, size=row.size).model) == _parameters(original) - folded


def test_norms_and_activations_are_the_modules_that_they_were() -> None:
    row = Row("small:swin", 8, opset=13)
    _, file = _exported(row)
    imported = load(file, size=row.size)
    kinds = Counter(type(module) for module in imported.model.modules())
    original = Counter(type(module) for module in _made(row).modules())
    for kind in (nn.LayerNorm, nn.GELU, nn.Linear, nn.Softmax):
        assert kinds[kind] == (4 if kind is nn.Softmax else original[kind])
