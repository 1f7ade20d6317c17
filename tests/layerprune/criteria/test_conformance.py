"""What every criterion in the table has to respect, whatever it computes."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
import timm
import torch
from torch import Tensor, fx, nn

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput, UnknownName
from layerprune.api.network import ModelSpec, Preprocess
from layerprune.criteria import get, list_criteria, observation
from layerprune.criteria.base import ScoringContext
from layerprune.criteria.observation import Scores, score_all
from layerprune.data.material import load_material
from layerprune.models import build
from layerprune.structure.layers import find_layers
from layerprune.structure.trace import trace

NAMES = [info.name for info in list_criteria()]
SINGLE = [name for name in NAMES if name != "ensemble"]  # an ensemble depends on what else is asked for
WITHOUT_CONVOLUTIONS = [name for name in NAMES if name not in ("bn_scale", "feature_map_rank")]


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """64 real digits of 8x8 with their labels."""
    preprocess = Preprocess(size=8, mean=[0.3067] * 3, std=[0.3778] * 3)
    material = load_material(ModelSpec(name="cifar:resnet20", preprocess=preprocess), DatasetSpec(name="digits"))
    return material.calibration.batches(64)[0]


@pytest.fixture(scope="module")
def shared(digits: tuple[Tensor, Tensor]) -> ScoringContext:
    """ResNet-20 with random weights and calibrated batch norm, for tests that only score."""
    model = build("cifar:resnet20", classes=10)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics of all that is seen
    with torch.no_grad():
        model.train()(digits[0])
    return _context(model, *digits)


@pytest.fixture
def context(shared: ScoringContext) -> ScoringContext:
    """A network of its own for tests that look at or change it."""
    return replace(shared, graph=copy.deepcopy(shared.graph))


@pytest.fixture(scope="module")
def alone(shared: ScoringContext) -> dict[str, Scores]:
    """Each criterion's scores when nothing else is asked for."""
    return {name: score_all([name], shared) for name in NAMES}


@pytest.fixture
def transformer(digits: tuple[Tensor, Tensor]) -> ScoringContext:
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=8, patch_size=4, depth=2, num_classes=10)
    return _context(model, *digits)


def _context(model: nn.Module, images: Tensor, labels: Tensor) -> ScoringContext:
    graph = trace(model.eval(), images[:1])
    layers = [layer for layer in find_layers(graph) if layer.default]
    return ScoringContext(graph, layers, _batches(images, labels, 32), classes=10, seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_has_a_finite_score(name: str, shared: ScoringContext, alone: dict[str, Scores]) -> None:
    scores = alone[name].layers[name]
    assert list(scores) == [layer.name for layer in shared.layers]
    assert all(abs(score) < float("inf") for score in scores.values())


@pytest.mark.parametrize("name", NAMES)
def test_filter_scores_are_what_the_table_promises(name: str, shared: ScoringContext, alone: dict[str, Scores]) -> None:
    filters = alone[name].filters
    assert set(filters) == ({name} if get(name).has_filter_form else set())
    modules = dict(shared.graph.named_modules())
    weighted = {key for key, module in modules.items() if isinstance(module, (nn.Conv2d, nn.Linear))}
    for found in filters.values():
        assert weighted - {"fc"} <= set(found) <= weighted
        assert all(values.shape == (modules[key].weight.shape[0],) for key, values in found.items())


@pytest.mark.parametrize("name", NAMES)
def test_scoring_leaves_the_network_as_it_was(name: str, context: ScoringContext) -> None:
    with _unchanged(context.graph):
        score_all([name], context)


def test_scoring_that_stops_midway_leaves_the_network_as_it_was(context: ScoringContext) -> None:
    groups = []

    def stop_at_the_second_group() -> None:
        groups.append(0)
        if len(groups) == 2:
            raise KeyboardInterrupt

    with _unchanged(context.graph), pytest.raises(KeyboardInterrupt):
        score_all(NAMES, context, checkpoint=stop_at_the_second_group)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_scores(name: str, shared: ScoringContext, alone: dict[str, Scores]) -> None:
    again = score_all([name], shared)
    assert again.layers == alone[name].layers
    for key, scores in alone[name].filters.get(name, {}).items():
        assert torch.equal(again.filters[name][key], scores)


@pytest.fixture(scope="module")
def shuffled(shared: ScoringContext) -> Scores:
    images, labels = _together(shared.batches)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    return score_all(SINGLE, replace(shared, batches=_batches(images[order], labels[order], 32)))


@pytest.fixture(scope="module")
def in_parts(shared: ScoringContext) -> Scores:
    return score_all(SINGLE, replace(shared, batches=_batches(*_together(shared.batches), 7)))


@pytest.mark.parametrize("name", SINGLE)
def test_the_order_of_the_images_does_not_matter(name: str, shuffled: Scores, alone: dict[str, Scores]) -> None:
    _assert_alike(_only(name, shuffled), alone[name])


@pytest.mark.parametrize("name", SINGLE)
def test_a_batch_equals_its_parts(name: str, in_parts: Scores, alone: dict[str, Scores]) -> None:
    _assert_alike(_only(name, in_parts), alone[name])


def test_all_criteria_together_score_as_each_alone(shared: ScoringContext, alone: dict[str, Scores]) -> None:
    together = score_all(SINGLE, shared)
    for name in SINGLE:
        _assert_alike(_only(name, together), alone[name])


def test_small_memory_cuts_batches_and_changes_no_score(
    shared: ScoringContext, alone: dict[str, Scores], monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[int] = []
    monkeypatch.setattr(observation, "_MEMORY_BYTES", 1 << 20)
    scores = score_all(["gate_taylor", "cka"], shared, checkpoint=lambda: groups.append(0))
    assert len(groups) > 2 * len(shared.batches)
    for name in ("gate_taylor", "cka"):
        _assert_alike(_only(name, scores), alone[name])


def test_a_transformer_is_scored_by_all_that_need_no_convolution(transformer: ScoringContext) -> None:
    with _unchanged(transformer.graph):
        scores = score_all(WITHOUT_CONVOLUTIONS, transformer)
    assert all(len(by_layer) == 4 for by_layer in scores.layers.values())
    for name in scores.filters:
        assert scores.filters[name]["blocks.0.mlp.fc1"].shape == (768,)
    parts = replace(transformer, batches=_batches(*_together(transformer.batches), 7))
    _assert_alike(score_all(WITHOUT_CONVOLUTIONS, parts), scores)


def test_a_criterion_that_needs_batch_norm_names_the_first_layer_without(transformer: ScoringContext) -> None:
    with pytest.raises(
        BadInput, match=r"bn_scale does not apply to the layer blocks\.0\.attn, which has no .* batch norm"
    ):
        score_all(["bn_scale"], transformer)


@pytest.mark.parametrize("name", ["block_influence", "cka", "accuracy_drop", "loss_increase"])
def test_a_layer_that_changes_the_width_cannot_be_bypassed(name: str, shared: ScoringContext) -> None:
    wider = replace(shared.layers[1], rebuilds="layer2.0.conv1")
    with pytest.raises(BadInput, match=rf"{name} does not apply to the layer {wider.name}, which changes the number"):
        score_all([name], replace(shared, layers=[shared.layers[0], wider]))


def test_weights_that_are_no_numbers_are_named(context: ScoringContext) -> None:
    context.graph.get_parameter("layer2.1.conv1.weight").data[0, 0, 0, 0] = float("nan")
    with pytest.raises(BadInput, match=r"layer2\.1\.conv1\.weight of the network holds 1 values"):
        score_all(["weight_l1"], context)


def test_a_loss_that_is_no_number_is_an_error(context: ScoringContext) -> None:
    images, labels = _together(context.batches)
    broken = replace(context, batches=[(torch.full_like(images, float("inf")), labels)])
    with pytest.raises(BadInput, match="the loss on the calibration images is nan"):
        score_all(["gate_taylor"], broken)


def test_a_label_that_the_network_does_not_know_is_named(context: ScoringContext) -> None:
    images, labels = _together(context.batches)
    with pytest.raises(BadInput, match="has the label 10, the network tells 10 classes apart"):
        score_all(["loss_increase"], replace(context, batches=[(images, labels.clamp(min=10))]))


def test_no_images_are_an_error(context: ScoringContext) -> None:
    with pytest.raises(BadInput, match="there are no calibration images"):
        score_all(["gate_taylor"], replace(context, batches=[]))


def test_an_unknown_criterion_lists_the_known_ones() -> None:
    with pytest.raises(
        UnknownName, match=r"unknown criterion 'l3'; known: accuracy_drop, activation_taylor, block_inf"
    ):
        get("l3")


def test_reading_the_table_imports_no_torch() -> None:
    code = (
        "import sys; from layerprune.criteria import list_criteria; list_criteria(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@contextmanager
def _unchanged(graph: fx.GraphModule) -> Iterator[None]:
    """Hold weights, buffers, gradients, hooks, modes and what needs gradients to the bit to what they were."""
    parameters = dict(graph.named_parameters())
    first, frozen = list(parameters.values())[:2]
    first.grad = torch.ones_like(first)
    frozen.requires_grad_(False)
    next(module for module in graph.modules() if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm))).train()
    before = copy.deepcopy(graph.state_dict())
    modes = {key: module.training for key, module in graph.named_modules()}
    wiring = str(graph.graph)
    yield
    after = graph.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert modes == {key: module.training for key, module in graph.named_modules()}
    assert wiring == str(graph.graph)
    assert {key: value is parameters[key] for key, value in graph.named_parameters()} == dict.fromkeys(parameters, True)
    assert [key for key, value in parameters.items() if not value.requires_grad] == [list(parameters)[1]]
    assert [key for key, value in parameters.items() if value.grad is not None] == [next(iter(parameters))]
    assert torch.equal(first.grad, torch.ones_like(first))
    for module in graph.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks


def _only(name: str, scores: Scores) -> Scores:
    return Scores({name: scores.layers[name]}, {key: value for key, value in scores.filters.items() if key == name})


def _assert_alike(one: Scores, other: Scores) -> None:
    """Equal up to the rounding of sums that are added in another order."""
    assert one.layers.keys() == other.layers.keys()
    for name, scores in one.layers.items():
        assert scores == pytest.approx(other.layers[name], rel=2e-5, abs=1e-6)
    for name, filters in one.filters.items():
        for module, values in filters.items():
            torch.testing.assert_close(values, other.filters[name][module], rtol=1e-4, atol=1e-6)


def _batches(images: Tensor, labels: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(images.split(size), labels.split(size), strict=True))


def _together(batches: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])
