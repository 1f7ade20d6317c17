from __future__ import annotations

import operator

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

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


class Branching(nn.Module):
    """Decides by sizes, as networks for several input sizes do; keeps an input size that it computed once."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.offset: Tensor
        self.register_buffer("offset", torch.zeros(1), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, scale: float = 1.0) -> Tensor:
        if mask is not None:
            x = x * mask
        batch, _, height, width = x.shape
        if self.offset.shape[0] != height:
            self.offset = torch.ones(int(height))
        x = self.conv(x)
        if height % 4:
            x = nn.functional.pad(x, (0, int(-width % 4), 0, int(-height % 4)))
        for _ in range(height // 8):
            x = x + 1
        return x.reshape(batch, -1) * scale


def test_control_flow_on_sizes_is_followed_as_for_the_example_at_any_batch() -> None:
    model = Branching().eval()
    for size in (6, 16):
        graph = trace(model, torch.rand(1, 3, size, size))
        images = torch.rand(5, 3, size, size)
        assert torch.equal(graph(images), model(images))
    assert sum(node.target is operator.add for node in graph.graph.nodes) == 2


class Baking(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.flatten(1)[place : place + 1] for place in range(x.shape[0])])


class Reading(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if x.max().item() > 0 else -x.flatten(1)


class Pairing(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Splitting(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Baking(), "depends on the number of images"),
        (Reading(), "decides by the values of a tensor"),
        (Pairing(), r"takes 2 inputs \(x, y\)"),
        (Splitting(), "gives 2 outputs in a tuple"),
    ],
)
def test_what_cannot_be_one_graph_is_refused_with_its_reason(model: nn.Module, words: str) -> None:
    with pytest.raises(Untraceable, match=words) as caught:
        trace(model, torch.rand(1, 3, 8, 8))
    assert caught.value.remedy


def test_what_acts_in_training_only_still_does() -> None:
    model = nn.Sequential(nn.Flatten(), StochasticDepth(1.0, "row"), nn.Dropout(1.0))
    graph = trace(model, torch.rand(1, 3, 4, 4))
    images = torch.rand(2, 3, 4, 4)
    assert not graph.train()(images).any()
    assert torch.equal(graph.eval()(images), images.flatten(1))
