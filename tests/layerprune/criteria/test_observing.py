"""Criteria that look at values inside the network, on numbers a reader can check."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from layerprune.api.errors import BadInput
from layerprune.criteria.base import ScoringContext
from layerprune.criteria.imprinting import embed
from layerprune.criteria.observation import score_all

Chain = Callable[..., ScoringContext]
IDENTITY = [[1.0, 0.0], [0.0, 1.0]]
TWO_OF_EACH = {"images": [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 2.0]], "labels": [0, 0, 1, 1]}


def _layers(name: str, context: ScoringContext) -> dict[str, float]:
    return score_all([name], context).layers[name]


@pytest.mark.parametrize(
    ("matrix", "influence"),
    [
        ([[2.0, 0.0], [0.0, 2.0]], 0.0),  # longer, not turned
        ([[0.0, -1.0], [1.0, 0.0]], 1.0),  # turned by a right angle
        ([[-1.0, 0.0], [0.0, -1.0]], 2.0),  # turned round
    ],
)
def test_block_influence_is_one_minus_the_cosine(chain: Chain, matrix: list[list[float]], influence: float) -> None:
    assert _layers("block_influence", chain([matrix]))["a"] == pytest.approx(influence)


def test_block_influence_averages_over_images(chain: Chain) -> None:
    # (1, 0) stays, (0, 1) becomes zero: cosines 1 and 0.
    context = chain([[[1.0, 0.0], [0.0, 0.0]]], images=[[1.0, 0.0], [0.0, 1.0]], labels=[0, 1])
    assert _layers("block_influence", context)["a"] == pytest.approx(0.5)


def test_block_influence_takes_two_zero_values_as_parallel(chain: Chain) -> None:
    context = chain([IDENTITY], images=[[0.0, 0.0]])
    assert _layers("block_influence", context)["a"] == 0.0


def test_imprinting_gives_the_first_layer_its_whole_accuracy(chain: Chain) -> None:
    # The classes lie on different axes, so nearest class mean is right on every image.
    assert _layers("imprinting", chain([IDENTITY], **TWO_OF_EACH)) == {"a": 1.0}


def test_imprinting_is_the_rise_from_a_layers_input_to_its_output(chain: Chain) -> None:
    # The second layer sends both classes to one axis: every answer is class 0, right for half of the images.
    context = chain([IDENTITY, [[1.0, 1.0], [0.0, 0.0]], IDENTITY], **TWO_OF_EACH)
    assert _layers("imprinting", context) == {"a": 1.0, "b": -0.5, "c": 0.0}


def test_imprinting_needs_two_images_of_every_class(chain: Chain) -> None:
    context = chain([IDENTITY], images=[[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], labels=[0, 0, 1])
    with pytest.raises(BadInput, match=r"class 1 has 1 \(3 images for 2 classes\)"):
        _layers("imprinting", context)


def test_imprinting_says_when_there_are_fewer_images_than_classes(chain: Chain) -> None:
    context = chain([IDENTITY], images=[[1.0, 0.0]], labels=[0], classes=3)
    with pytest.raises(
        BadInput, match=r"2 calibration images of every class; class 0 has 1 \(1 images for 3 classes\)"
    ):
        _layers("imprinting", context)


def test_embeddings_of_maps_with_channels_last_are_those_of_maps_with_channels_first() -> None:
    maps = torch.randn(2, 96, 7, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(embed(maps.movedim(1, -1), channels_last=True), embed(maps))


def test_feature_map_rank_counts_independent_rows_per_filter(chain: Chain) -> None:
    # The rows of the first channel are independent, the second's are multiples of each other.
    context = chain([IDENTITY], images=[[[[1.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [2.0, 4.0]]]])
    scores = score_all(["feature_map_rank"], context)
    assert scores.filters["feature_map_rank"]["a"].tolist() == [2.0, 1.0]
    assert scores.layers["feature_map_rank"] == {"a": 1.5}


def test_feature_map_rank_normalised_is_relative_to_full_rank(chain: Chain) -> None:
    maps = [[[[1.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [2.0, 4.0]]]]
    context = chain([IDENTITY], images=maps, layer_score="normalised")
    assert score_all(["feature_map_rank"], context).layers["feature_map_rank"] == {"a": 0.75}


def test_feature_map_rank_averages_over_images(chain: Chain) -> None:
    full, flat, none = [[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]
    context = chain([IDENTITY], images=[[full, none], [flat, none]], labels=[0, 1])
    assert score_all(["feature_map_rank"], context).filters["feature_map_rank"]["a"].tolist() == [1.5, 0.0]


@pytest.mark.parametrize(
    ("shape", "length"),
    [
        ((1, 16, 32, 32), 16 * 11 * 11),
        ((1, 64, 8, 8), 64 * 6 * 6),
        ((1, 64, 4, 4), 64 * 4 * 4),  # a side of 6 would only repeat pixels
        ((1, 10_000, 2, 2), 10_000),  # the formula alone would give a side of 0
        ((1, 49, 192), 192),
        ((1, 512), 512),
    ],
)
def test_embeddings_have_the_length_of_the_formula(shape: tuple[int, ...], length: int) -> None:
    assert embed(torch.zeros(shape)).shape == (1, length)
