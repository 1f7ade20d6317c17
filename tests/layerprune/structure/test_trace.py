from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from layerprune import models
from layerprune.structure import macs
from layerprune.structure.trace import Untraceable, trace


class Scaled(nn.Module):
    """A module with a parameter of its own, as ConvNeXt's normalisation is."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_the_graph_computes_what_the_model_computes() -> None:
    model = models.build("cifar:resnet20", classes=10).eval()
    images = torch.rand(4, 3, 16, 16)
    assert torch.equal(trace(model, images)(images), model(images))


def test_a_module_with_its_own_parameters_stays_whole() -> None:
    graph = trace(nn.Sequential(nn.Conv2d(3, 4, 1), Scaled()), torch.zeros(1, 3, 8, 8))
    assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["0", "1"]


@pytest.mark.parametrize("training", [True, False])
def test_tracing_changes_neither_mode_nor_statistics(training: bool) -> None:
    model = models.build("cifar:resnet20", classes=10).train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    graph = trace(model, torch.rand(2, 3, 16, 16))
    assert graph.training is training
    assert all(module.training is training for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_shapes_and_multiplications_are_those_of_batch_1() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(256, 5))
    graph = trace(model, torch.zeros(7, 3, 8, 8))
    conv = next(node for node in graph.graph.nodes if node.target == "0")
    assert conv.meta["tensor_meta"].shape == (1, 4, 8, 8)
    assert conv.meta["macs"] == 3 * 4 * 9 * 64
    assert macs.count(model, torch.zeros(7, 3, 8, 8)) == 3 * 4 * 9 * 64 + 256 * 5
    assert macs.count_params(model) == 3 * 4 * 9 + 4 + 256 * 5 + 5


def test_attention_is_counted_in_evaluation_mode_too() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.attention(x, x, x, need_weights=False)[0]
            return out

    # four projections of 5 tokens by 8 to 8, and two products of 5 by 5 by 8
    assert macs.count(Attending().eval(), torch.zeros(1, 5, 8)) == 4 * 5 * 64 + 2 * 5 * 5 * 8


def test_control_flow_on_values_is_untraceable() -> None:
    with pytest.raises(Untraceable, match="Deciding") as caught:
        trace(Deciding(), torch.zeros(1, 3, 8, 8))
    assert caught.value.code == "untraceable"


def test_a_wrong_input_shape_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Untraceable, match=r"\[1, 8, 8\]") as caught:
        trace(models.build("cifar:resnet20", classes=10), torch.zeros(1, 1, 8, 8))
    assert caught.value.value == [1, 8, 8]
    assert capfd.readouterr() == ("", "")
