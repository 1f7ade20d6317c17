"""What every criterion in the table has to respect, whatever it computes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from layerprune.api.errors import UnknownName
from layerprune.criteria import get, list_criteria
from layerprune.criteria.base import ScoringContext
from layerprune.criteria.observation import score_all
from layerprune.data import load_dataset, normalise, preprocess_images
from layerprune.models import build
from layerprune.structure.layers import find_layers
from layerprune.structure.trace import trace
from layerprune.train import reestimate_batch_norm_

NAMES = [info.name for info in list_criteria()]


@pytest.fixture
def context() -> ScoringContext:
    """ResNet-20 with random weights and calibrated batch norm, on 64 real digits of 8x8."""
    data = load_dataset("digits")
    preprocess = data.default_preprocess().model_copy(update={"size": 8})
    images = normalise(preprocess_images(data.calibration.images[:64], preprocess), preprocess)
    labels = torch.from_numpy(data.calibration.labels[:64])
    model = build("cifar:resnet20", classes=10)
    reestimate_batch_norm_(model, [images])
    graph = trace(model.eval(), images[:1])
    layers = [layer for layer in find_layers(graph) if layer.default]
    return ScoringContext(graph, layers, _batches(images, labels, 32), classes=10, seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_has_a_finite_score(name: str, context: ScoringContext) -> None:
    scores = get(name).layer_scores(context)
    assert list(scores) == [layer.name for layer in context.layers]
    assert all(abs(score) < float("inf") for score in scores.values())


@pytest.mark.parametrize("name", NAMES)
def test_filter_scores_are_what_the_table_promises(name: str, context: ScoringContext) -> None:
    criterion = get(name)
    scores = criterion.filter_scores(context)
    assert (scores is not None) == criterion.info.has_filter_form
    for module, values in (scores or {}).items():
        assert values.shape == (context.graph.get_submodule(module).out_channels,)


@pytest.mark.parametrize("name", NAMES)
def test_scoring_leaves_the_network_as_it_was(name: str, context: ScoringContext) -> None:
    graph = context.graph
    first = next(graph.parameters())
    first.grad = torch.ones_like(first)
    graph.get_submodule("layer1.0.bn1").train()
    before = {key: value.clone() for key, value in graph.state_dict().items()}
    modes = {key: module.training for key, module in graph.named_modules()}
    images = [batch.clone() for batch, _ in context.batches]

    get(name).layer_scores(context)
    get(name).filter_scores(context)

    after = graph.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert modes == {key: module.training for key, module in graph.named_modules()}
    assert [parameter.grad is not None for parameter in graph.parameters()].count(True) == 1
    assert torch.equal(first.grad, torch.ones_like(first))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in graph.modules())
    assert all(torch.equal(a, b) for a, (b, _) in zip(images, context.batches, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_scores(name: str, context: ScoringContext) -> None:
    assert get(name).layer_scores(context) == get(name).layer_scores(context)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_images_does_not_matter(name: str, context: ScoringContext) -> None:
    images, labels = _together(context.batches)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    shuffled = replace(context, batches=_batches(images[order], labels[order], 32))
    assert get(name).layer_scores(shuffled) == pytest.approx(get(name).layer_scores(context), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_equals_its_parts(name: str, context: ScoringContext) -> None:
    parts = replace(context, batches=_batches(*_together(context.batches), 7))
    assert get(name).layer_scores(parts) == pytest.approx(get(name).layer_scores(context), abs=1e-6)


def test_all_criteria_together_score_as_each_alone(context: ScoringContext) -> None:
    together = score_all(NAMES, context)
    for name in NAMES:
        assert together.layers[name] == get(name).layer_scores(context)
    assert set(together.filters) == {info.name for info in list_criteria() if info.has_filter_form}


def test_an_unknown_criterion_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"unknown criterion 'l3'; known: block_influence, bn_scale, imprinting"):
        get("l3")


def test_reading_the_table_imports_no_torch() -> None:
    code = (
        "import sys; from layerprune.criteria import list_criteria; list_criteria(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _batches(images: Tensor, labels: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(images.split(size), labels.split(size), strict=True))


def _together(batches: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])
