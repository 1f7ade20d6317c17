from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn
from torchvision.models.vision_transformer import VisionTransformer

from layerprune import models
from layerprune.structure.layers import Layer, find_layers
from layerprune.structure.macs import count_params
from layerprune.structure.trace import trace


def traced(name: str, size: int) -> fx.GraphModule:
    return trace(models.build(name, classes=10), torch.zeros(1, 3, size, size))


def default_layers(graph: fx.GraphModule) -> list[Layer]:
    return [layer for layer in find_layers(graph) if layer.default]


@pytest.mark.parametrize(
    ("name", "size", "count"),
    [
        ("cifar:resnet20", 16, 7),
        ("cifar:resnet56", 16, 25),
        ("torchvision:resnet18", 32, 5),
        ("torchvision:resnet34", 32, 13),
        ("torchvision:resnet50", 32, 12),
        ("torchvision:resnet101", 32, 29),
        ("torchvision:resnext50_32x4d", 32, 12),
        ("torchvision:wide_resnet50_2", 32, 12),
        ("torchvision:mobilenet_v2", 32, 10),
        ("torchvision:shufflenet_v2_x1_0", 64, 13),
        ("torchvision:convnext_tiny", 32, 18),
        ("torchvision:regnet_y_400mf", 32, 12),
    ],
)
def test_blocks_that_keep_their_shape_are_found(name: str, size: int, count: int) -> None:
    assert len(default_layers(traced(name, size))) == count


def test_layers_are_named_after_their_modules_in_forward_order() -> None:
    names = [layer.name for layer in default_layers(traced("cifar:resnet20", 16))]
    assert names == ["layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2"]


def test_a_block_counts_its_own_weights_and_multiplications() -> None:
    block = default_layers(traced("cifar:resnet20", 16))[0]
    assert block.params == 2 * 16 * 16 * 9 + 2 * 2 * 16
    assert block.macs == 2 * 16 * 16 * 9 * 256


def test_convolutions_inside_a_block_are_finer_layers_of_it() -> None:
    inner = next(layer for layer in find_layers(traced("cifar:resnet20", 16)) if layer.name == "layer2.1.conv2")
    assert (inner.kind, inner.depth, inner.parent, inner.default) == ("conv", 1, "layer2.1", False)


def test_convolutions_of_equal_width_take_their_norm_and_activation_along() -> None:
    def unit(inputs: int, outputs: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]

    model = nn.Sequential(*unit(3, 8), *unit(8, 8), nn.MaxPool2d(2), *unit(8, 8), nn.Conv2d(8, 4, 1))
    layers = find_layers(trace(model, torch.zeros(1, 3, 8, 8)))
    assert [(layer.name, layer.nodes) for layer in layers] == [("3", ("_3", "_4", "_5")), ("7", ("_7", "_8", "_9"))]
    assert all(layer.default and layer.kind == "conv" for layer in layers)


def test_the_operation_that_computes_the_answer_is_no_layer() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 8))
    assert find_layers(trace(model, torch.zeros(1, 3, 2, 2))) == []


def test_transformers_lose_attention_and_mlp_but_not_the_final_norm() -> None:
    model = VisionTransformer(
        image_size=16, patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=5
    )
    layers = find_layers(trace(model, torch.zeros(1, 3, 16, 16)))
    assert [layer.kind for layer in layers] == ["attention", "mlp"] * 2
    assert layers[-1].name == "encoder.layers.encoder_layer_1.mlp"
    assert not any(node.startswith("encoder_ln") for layer in layers for node in layer.nodes)


def test_squeeze_excite_and_depthwise_units_are_not_default() -> None:
    kinds = {
        layer.kind: layer.default for layer in find_layers(traced("torchvision:efficientnet_b0", 32)) if not layer.depth
    }
    assert kinds == {"squeeze_excite": False, "depthwise_conv": False, "residual_block": True}


def test_a_size_taken_early_is_no_path_around_what_follows() -> None:
    class Sized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            batch = x.shape[0]
            y = torch.relu(self.second(torch.relu(self.first(x))))
            out: Tensor = self.head(y.mean((2, 3)).view(batch, -1))
            return out

    assert [layer.name for layer in find_layers(trace(Sized(), torch.zeros(1, 4, 4, 4)))] == ["first", "second"]


def test_a_region_whose_inside_size_is_used_later_stays() -> None:
    class Leaking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up, self.head = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            inner = self.down(x)
            width = inner.shape[1]
            out: Tensor = self.head(x + self.up(inner)) * width
            return out

    assert find_layers(trace(Leaking(), torch.zeros(1, 4, 4, 4))) == []


def test_shared_weights_are_not_saved_by_one_of_their_uses() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.conv(self.conv(x)))
            return out

    layers = find_layers(trace(Twice(), torch.zeros(1, 4, 4, 4)))
    assert [(layer.name, layer.params) for layer in layers] == [("conv", 0), ("conv#2", 0)]


def test_finding_does_not_change_the_graph() -> None:
    graph = traced("cifar:resnet20", 16)
    before = (graph.code, count_params(graph))
    assert find_layers(graph) == find_layers(graph)
    assert (graph.code, count_params(graph)) == before
