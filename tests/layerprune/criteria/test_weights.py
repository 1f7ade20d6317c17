"""Criteria that look at weights alone, on numbers a reader can check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from layerprune.api.errors import BadInput
from layerprune.criteria.base import ScoringContext
from layerprune.criteria.ensemble import DEFAULT_MEMBERS
from layerprune.criteria.observation import score_all

Chain = Callable[..., ScoringContext]
WEIGHTS = [[1.0, -2.0], [3.0, -4.0]]


def _layers(name: str, context: ScoringContext) -> dict[str, float]:
    return score_all([name], context).layers[name]


def _filters(name: str, context: ScoringContext) -> list[float]:
    return score_all([name], context).filters[name]["a"].tolist()


def test_weight_l1_sums_absolute_weights_per_filter(chain: Chain) -> None:
    assert _filters("weight_l1", chain([WEIGHTS])) == [3.0, 7.0]


def test_weight_norm_sums_squares_per_filter(chain: Chain) -> None:
    assert _filters("weight_norm", chain([WEIGHTS])) == [5.0, 25.0]


def test_bn_scale_is_the_absolute_scale_of_the_norm_behind(chain: Chain) -> None:
    context = chain([WEIGHTS], scales=[[-2.0, 0.5]])
    assert _filters("bn_scale", context) == [2.0, 0.5]
    assert _layers("bn_scale", context) == {"a": 1.25}


def test_a_layer_scores_the_mean_over_its_filters(chain: Chain) -> None:
    assert _layers("weight_l1", chain([WEIGHTS])) == {"a": 5.0}


def test_several_convolutions_in_a_layer_count_equally(chain: Chain) -> None:
    context = chain([WEIGHTS, [[1.0, 0.0], [0.0, 1.0]]])
    both = replace(context.layers[0], nodes=("a", "b"), exit="b")
    assert _layers("weight_l1", replace(context, layers=[both])) == {"a": 3.0}


def test_bn_scale_refuses_a_layer_without_a_norm(chain: Chain) -> None:
    with pytest.raises(BadInput, match="bn_scale does not apply to the layer a"):
        _layers("bn_scale", chain([WEIGHTS]))


@pytest.mark.parametrize(("name", "full"), [("weight_l1", 2.0), ("weight_norm", 2.0), ("bn_scale", 1.0)])
def test_a_normalised_score_is_divided_by_that_of_a_filter_of_ones(chain: Chain, name: str, full: float) -> None:
    options = {"matrices": [WEIGHTS], "scales": [[-2.0, 0.5]]}
    plain, normalised = chain(**options), chain(**options, layer_score="normalised")
    assert _layers(name, normalised)["a"] == _layers(name, plain)["a"] / full
    assert _filters(name, normalised) == _filters(name, plain)


def test_an_ensemble_sums_ranks_over_the_other_criteria(chain: Chain) -> None:
    # weight_l1: b, a, c from the lowest; bn_scale: a, c, b. Ranks: a 1 + 0, b 0 + 2, c 2 + 1.
    matrices = [[[2.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]], [[3.0, 0.0], [0.0, 3.0]]]
    context = chain(matrices, scales=[[1.0, 1.0], [3.0, 3.0], [2.0, 2.0]])
    layers = score_all(["ensemble", "weight_l1", "random", "bn_scale"], context).layers
    assert layers["ensemble"] == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_an_ensemble_ranks_equal_scores_by_position(chain: Chain) -> None:
    assert score_all(["weight_l1", "ensemble"], chain([WEIGHTS] * 3)).layers["ensemble"] == {"a": 0, "b": 1, "c": 2}


def test_an_ensemble_alone_rests_on_the_default_criteria(chain: Chain) -> None:
    context = chain([WEIGHTS, [[1.0, 0.5], [0.25, 1.0]]])
    alone = score_all(["ensemble"], context)
    assert set(alone.layers) == {"ensemble"}
    assert alone.layers["ensemble"] == score_all(["ensemble", *DEFAULT_MEMBERS], context).layers["ensemble"]


def test_random_depends_on_the_seed_and_the_name_alone(chain: Chain) -> None:
    first = _layers("random", chain([WEIGHTS, WEIGHTS]))
    assert first["a"] != first["b"]
    assert _layers("random", chain([[[9.0, 9.0], [9.0, 9.0]]]))["a"] == first["a"]
    assert _layers("random", chain([WEIGHTS], seed=1))["a"] != first["a"]
