"""Criteria made of gradients, on numbers a reader can check.

The networks are chains of 1x1 convolutions on two channels; the logits are the last output, averaged over the pixels.
Where both logits are equal the softmax is (1/2, 1/2), and the gradient of the cross entropy at the logits (-1/2, 1/2)
for label 0 and (1/2, -1/2) for label 1.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerprune.criteria.base import ScoringContext
from layerprune.criteria.observation import score_all
from layerprune.structure.layers import find_layers
from layerprune.structure.trace import trace

Chain = Callable[..., ScoringContext]
EQUAL = [[1.0, 1.0], [1.0, 1.0]]  # any image gets two equal logits
# (1, 1) becomes (2, 4), then (2, 2); gradients at the first output are (-1/2, 1/4).
TWO_STEPS = [[[2.0, 0.0], [0.0, 4.0]], [[1.0, 0.0], [0.0, 0.5]]]
# Two pixels in a row: 2 and -2 in the first channel, nothing in the second; the logits are means over them, so 0.
TWO_PIXELS = [[[[2.0, -2.0]], [[0.0, 0.0]]]]


def _filters(name: str, context: ScoringContext, module: str = "a") -> list[float]:
    return score_all([name], context).filters[name][module].tolist()


def test_weight_taylor_sums_squared_products_of_weight_and_gradient(chain: Chain) -> None:
    # dL/dw_fi = g_f x_i with x = (3, 0): the products are (-3/2, 0) and (3/2, 0).
    assert _filters("weight_taylor", chain([EQUAL], images=[[3.0, 0.0]])) == pytest.approx([2.25, 2.25])


def test_weight_taylor_sums_squares_and_does_not_square_the_sum(chain: Chain) -> None:
    # x = (3, 3), weights (1, -1): the products of a filter are 3/2 and -3/2, which would cancel.
    opposed = [[1.0, -1.0], [1.0, -1.0]]
    assert _filters("weight_taylor", chain([opposed], images=[[3.0, 3.0]])) == pytest.approx([4.5, 4.5])


def test_weight_taylor_squares_the_mean_gradient_of_all_images(chain: Chain) -> None:
    # The labels pull in opposite directions: the mean gradient is zero, though no image's is.
    context = chain([EQUAL], images=[[3.0, 0.0], [3.0, 0.0]], labels=[0, 1])
    assert _filters("weight_taylor", context) == pytest.approx([0.0, 0.0])


def test_gate_taylor_squares_the_slope_of_the_loss_at_a_gate(chain: Chain) -> None:
    # Slopes: 2 * -1/2 and 4 * 1/4.
    assert _filters("gate_taylor", chain(TWO_STEPS, images=[[1.0, 1.0]])) == pytest.approx([1.0, 1.0])


def test_gate_taylor_averages_the_squares_of_single_images(chain: Chain) -> None:
    # Slopes -1 and 1 under label 0, 1 and -1 under label 1: the squares do not cancel.
    context = chain(TWO_STEPS, images=[[1.0, 1.0], [1.0, 1.0]], labels=[0, 1])
    assert _filters("gate_taylor", context) == pytest.approx([1.0, 1.0])


def test_gate_taylor_sums_over_a_map_before_it_squares(chain: Chain) -> None:
    # The products of the first channel are -1/4 * 2 and -1/4 * -2.
    identity = [[1.0, 0.0], [0.0, 1.0]]
    assert _filters("gate_taylor", chain([identity], images=TWO_PIXELS)) == pytest.approx([0.0, 0.0])


def test_the_gate_stands_behind_the_batch_norm(chain: Chain) -> None:
    # The norm scales (1, 1) to (2, 4) again, so the slopes are those of TWO_STEPS.
    context = chain([EQUAL, TWO_STEPS[1]], scales=[[2.0, 4.0], [1.0, 1.0]], images=[[1.0, 0.0]])
    assert _filters("gate_taylor", context) == pytest.approx([1.0, 1.0])


def test_activation_taylor_divides_by_the_norm_over_the_layers_filters(chain: Chain) -> None:
    # |2 * -1/2| = 1 and |4 * 1/4| = 1, over the square root of 2.
    assert _filters("activation_taylor", chain(TWO_STEPS, images=[[1.0, 1.0]])) == pytest.approx([0.5**0.5, 0.5**0.5])


def test_activation_taylor_normalised_is_relative_to_equal_filters(chain: Chain) -> None:
    context = chain(TWO_STEPS, images=[[1.0, 1.0]], layer_score="normalised")
    assert score_all(["activation_taylor"], context).layers["activation_taylor"]["a"] == pytest.approx(1.0)


def test_activation_taylor_takes_absolute_values_pixel_by_pixel(chain: Chain) -> None:
    # The first channel's products of opposite sign do not cancel; the second has none.
    identity = [[1.0, 0.0], [0.0, 1.0]]
    assert _filters("activation_taylor", chain([identity], images=TWO_PIXELS)) == pytest.approx([1.0, 0.0])


class _Gated(nn.Module):
    """A network with a real gate on each channel, an in-place activation and tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.SiLU(inplace=True)
        self.mix, self.hidden, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 5)
        self.gate = torch.ones(4)
        self.token_gate = torch.ones(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv(x)) * self.gate[:, None, None])
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.mix(F.gelu(self.hidden(tokens) * self.token_gate))
        return self.head(tokens.mean(1))


def test_gate_taylor_equals_real_gates_image_by_image() -> None:
    torch.manual_seed(0)
    model = _Gated().eval()
    images, labels = torch.randn(6, 3, 4, 4), torch.tensor([0, 1, 2, 3, 4, 0])
    expected = {"conv": torch.zeros(4), "hidden": torch.zeros(4)}
    for image, label in zip(images, labels, strict=True):
        model.gate, model.token_gate = torch.ones(4, requires_grad=True), torch.ones(4, requires_grad=True)
        loss = F.cross_entropy(model(image[None]), label[None])
        slopes = torch.autograd.grad(loss, [model.gate, model.token_gate])
        for name, slope in zip(expected, slopes, strict=True):
            expected[name] += slope.square() / len(images)

    model.gate, model.token_gate = torch.ones(4), torch.ones(4)
    graph = trace(model, images[:1])
    context = ScoringContext(graph, find_layers(graph), [(images, labels)], 5, 0)
    # The traced product by the constant gate stands between norm and activation and changes nothing.
    filters = score_all(["gate_taylor"], context).filters["gate_taylor"]
    for name, values in expected.items():
        torch.testing.assert_close(filters[name], values)


def test_weight_taylor_equals_a_backward_pass_over_everything() -> None:
    torch.manual_seed(0)
    model = _Gated().eval()
    images, labels = torch.randn(6, 3, 4, 4), torch.tensor([0, 1, 2, 3, 4, 0])
    weight = model.conv.weight
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(images), labels), [weight])
    graph = trace(model, images[:1])
    context = ScoringContext(graph, find_layers(graph), [(images[:4], labels[:4]), (images[4:], labels[4:])], 5, 0)
    filters = score_all(["weight_taylor"], context).filters["weight_taylor"]
    torch.testing.assert_close(filters["conv"], (weight * gradient).detach().square().flatten(1).sum(1))
