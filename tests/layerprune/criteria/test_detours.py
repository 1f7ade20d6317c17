"""Criteria that bypass layers, on numbers a reader can check, and the detours they rest on."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from layerprune.criteria.base import ScoringContext
from layerprune.criteria.cka import linear_cka
from layerprune.criteria.forward import Forward
from layerprune.criteria.observation import score_all
from layerprune.criteria.out_of_place import out_of_place
from layerprune.models import build
from layerprune.structure.layers import find_layers
from layerprune.structure.surgery import remove_layers_
from layerprune.structure.trace import trace

Chain = Callable[..., ScoringContext]
IDENTITY = [[1.0, 0.0], [0.0, 1.0]]
SWAP = [[0.0, 1.0], [1.0, 0.0]]
FIRST_ONLY = [[1.0, 0.0], [0.0, 0.0]]
CROSS = [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]


def _layers(name: str, context: ScoringContext) -> dict[str, float]:
    return score_all([name], context).layers[name]


def test_loss_increase_is_the_rise_of_the_mean_cross_entropy(chain: Chain) -> None:
    # Logits (2 ln 3, 0) with the layer: loss ln(10/9); (ln 3, 0) without: loss ln(4/3).
    double = [[2.0, 0.0], [0.0, 2.0]]
    scores = _layers("loss_increase", chain([double, IDENTITY], images=[[math.log(3), 0.0]]))
    assert scores == {"a": pytest.approx(math.log(4 / 3) - math.log(10 / 9)), "b": pytest.approx(0.0, abs=1e-12)}


def test_accuracy_drop_is_the_share_of_answers_lost(chain: Chain) -> None:
    # Only the swap makes the two images with the other's label right; it makes the third wrong.
    context = chain([SWAP, IDENTITY], images=[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], labels=[1, 0, 0])
    assert _layers("accuracy_drop", context) == {"a": pytest.approx(1 / 3), "b": 0.0}


def test_a_layer_that_does_harm_has_a_negative_accuracy_drop(chain: Chain) -> None:
    assert _layers("accuracy_drop", chain([SWAP, IDENTITY], images=[[1.0, 0.0]], labels=[0])) == {"a": -1.0, "b": 0.0}


def test_cka_is_blind_to_a_turn(chain: Chain) -> None:
    context = chain([SWAP, IDENTITY], images=CROSS, labels=[0, 0, 1, 1])
    assert _layers("cka", context)["a"] == pytest.approx(0.0, abs=1e-12)


def test_cka_sees_a_lost_direction(chain: Chain) -> None:
    # X'X = 2 I, Y'Y = X'Y = diag(2, 0): CKA = 4 / (2 sqrt(2) * 2).
    context = chain([FIRST_ONLY, IDENTITY], images=CROSS, labels=[0, 0, 1, 1])
    assert _layers("cka", context)["a"] == pytest.approx(1 - 0.5**0.5)


def test_cka_without_any_difference_between_images(chain: Chain) -> None:
    nothing = [[0.0, 0.0], [0.0, 0.0]]
    assert _layers("cka", chain([nothing, IDENTITY], images=CROSS, labels=[0, 0, 1, 1]))["a"] == 1.0
    assert _layers("cka", chain([IDENTITY, IDENTITY], images=[[1.0, 0.0]]))["a"] == 0.0


def test_cka_is_the_same_by_features_and_by_images() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(12, 5, generator=generator), torch.randn(12, 3, generator=generator)
    by_features = linear_cka(first, second)
    # Constant features add nothing, and make more of them than there are images.
    widened = linear_cka(F.pad(first, (0, 20)), second)
    assert widened == pytest.approx(by_features)


class _InPlace(nn.Module):
    """Pre-activation blocks that change their own input in place, in every way that there is."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1) for _ in range(5))
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.convs[0](self.act(x))  # the sum reads what the activation left
        x = x + self.convs[1](F.leaky_relu(x, 0.1, True))
        x = x + self.convs[2](F.silu(x, inplace=True))
        y = self.convs[3](torch.relu_(x))
        y += x
        return self.head(self.convs[4](y.mul_(0.5)).mean((2, 3)))


class _Statement(_InPlace):
    """The same with a change whose result nothing reads by its own name."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs[0](self.stem(x))
        x.clamp_(min=0.1)
        return self.head(x.mean((2, 3)))


def _graph(model: nn.Module, images: Tensor) -> fx.GraphModule:
    return trace(model.eval(), images[:1])


@pytest.mark.parametrize("network", [_InPlace, _Statement])
def test_out_of_place_computes_the_same_and_keeps_every_value(network: type[nn.Module]) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 6, 6)
    graph = _graph(network(), images)
    sketch = out_of_place(graph)
    forward = Forward(sketch, values=[node.name for node in sketch.graph.nodes if node.op != "output"])
    answer = forward.look(images)
    assert torch.equal(answer.logits, graph(images))
    assert all(value._version == 0 for value in forward.values.values())
    assert torch.equal(forward.values["stem"], graph.stem(images))


def _networks() -> dict[str, Callable[[], nn.Module]]:
    return {"in_place": _InPlace, "resnet20": lambda: build("cifar:resnet20", classes=3)}


@pytest.mark.parametrize("network", _networks())
def test_a_detour_answers_like_the_network_without_the_layer(network: str) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 8, 8)
    graph = _graph(_networks()[network](), images)
    layers = find_layers(graph)
    assert layers
    forward = Forward(out_of_place(graph), bypassed=layers)
    forward.look(images)
    for layer in layers[:8]:
        without = copy.deepcopy(graph)
        remove_layers_(without, [layer])
        torch.testing.assert_close(forward.without[layer.name].logits, without(images))


def test_a_detour_computes_nothing_before_the_layers_exit() -> None:
    graph = _graph(build("cifar:resnet20", classes=3), torch.zeros(1, 3, 8, 8))
    layers = [layer for layer in find_layers(graph) if layer.default]
    runs = []
    handle = graph.get_submodule("conv1").register_forward_hook(lambda *_: runs.append("stem"))
    tail = graph.get_submodule("fc").register_forward_hook(lambda *_: runs.append("head"))
    Forward(out_of_place(graph), bypassed=layers).look(torch.randn(2, 3, 8, 8))
    handle.remove()
    tail.remove()
    assert runs.count("stem") == 1
    assert runs.count("head") == 1 + len(layers)
