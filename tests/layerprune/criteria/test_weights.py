"""Criteria that look at weights alone, on numbers a reader can check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from layerprune.api.errors import BadInput
from layerprune.criteria import get
from layerprune.criteria.base import ScoringContext

Chain = Callable[..., ScoringContext]
WEIGHTS = [[1.0, -2.0], [3.0, -4.0]]


def test_weight_l1_sums_absolute_weights_per_filter(chain: Chain) -> None:
    scores = get("weight_l1").filter_scores(chain([WEIGHTS]))
    assert scores is not None
    assert scores["a"].tolist() == [3.0, 7.0]


def test_weight_norm_sums_squares_per_filter(chain: Chain) -> None:
    scores = get("weight_norm").filter_scores(chain([WEIGHTS]))
    assert scores is not None
    assert scores["a"].tolist() == [5.0, 25.0]


def test_bn_scale_is_the_absolute_scale_of_the_norm_behind(chain: Chain) -> None:
    context = chain([WEIGHTS], scales=[[-2.0, 0.5]])
    scores = get("bn_scale").filter_scores(context)
    assert scores is not None
    assert scores["a"].tolist() == [2.0, 0.5]
    assert get("bn_scale").layer_scores(context) == {"a": 1.25}


def test_a_layer_scores_the_mean_over_its_filters(chain: Chain) -> None:
    assert get("weight_l1").layer_scores(chain([WEIGHTS])) == {"a": 5.0}


def test_several_convolutions_in_a_layer_count_equally(chain: Chain) -> None:
    context = chain([WEIGHTS, [[1.0, 0.0], [0.0, 1.0]]])
    both = replace(context.layers[0], nodes=("a", "b"), exit="b")
    assert get("weight_l1").layer_scores(replace(context, layers=[both])) == {"a": 3.0}


def test_bn_scale_refuses_a_layer_without_a_norm(chain: Chain) -> None:
    with pytest.raises(BadInput, match="bn_scale does not apply to the layer a"):
        get("bn_scale").layer_scores(chain([WEIGHTS]))


def test_bn_scale_has_no_filter_form_where_there_is_no_norm(chain: Chain) -> None:
    assert get("bn_scale").filter_scores(chain([WEIGHTS])) is None


def test_random_depends_on_the_seed_and_the_name_alone(chain: Chain) -> None:
    first = get("random").layer_scores(chain([WEIGHTS, WEIGHTS]))
    assert first["a"] != first["b"]
    assert get("random").layer_scores(chain([[[9.0, 9.0], [9.0, 9.0]]]))["a"] == first["a"]
    assert get("random").layer_scores(chain([WEIGHTS], seed=1))["a"] != first["a"]
