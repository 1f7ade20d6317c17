from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, fx, nn

from layerprune import models
from layerprune.api.pruning import FilterOptions, Method, PruningSpec
from layerprune.planning.candidates import by_amounts
from layerprune.planning.edits import LOSS, Editor
from layerprune.planning.guide import with_guide
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.layers import find_layers
from layerprune.structure.macs import count, count_params
from layerprune.structure.surgery import apply_plan_
from layerprune.structure.trace import trace

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
ALL: list[Method] = ["layer", "filter", "hybrid"]


def plain() -> nn.Module:
    """Convolutions in a row, the middle one of equal width: its removal joins the channels before and after it."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5)),
    )


def editor(model: nn.Module, spec: PruningSpec | None = None) -> tuple[fx.GraphModule, Editor]:
    graph = trace(model.eval(), IMAGES)
    generator = torch.Generator().manual_seed(0)
    scores: dict[str, Tensor] = {
        name: torch.rand(module.weight.shape[0], generator=generator)
        for name, module in graph.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    }
    layers = [layer for layer in find_layers(graph) if layer.default]
    spec = spec or PruningSpec(methods=ALL, criteria=["weight_l1"])
    return graph, Editor(graph, IMAGES, layers, {"weight_l1": scores}, spec)


def test_every_layer_and_every_aligned_width_of_every_group_is_an_edit() -> None:
    _, found = editor(models.build("cifar:resnet20", classes=10))
    edits = found.edits()
    assert sum(edit.kind == "layer" for edit in edits) == 7
    widths: dict[str, list[int]] = {}
    for edit in edits:
        if edit.kind == "channels":
            widths.setdefault(edit.target, []).append(edit.kept)
    # three blocks per stage with one inner width each, and the stage's own
    assert sorted(map(tuple, widths.values())) == [(8,)] * 4 + [(8, 16, 24)] * 4 + [(8, 16, 24, 32, 40, 48, 56)] * 4


def test_swappable_blocks_share_their_architectures() -> None:
    _, found = editor(models.build("cifar:resnet20", classes=10))
    edits = {edit.id: edit for edit in found.edits()}
    assert edits["layer:layer1.0"].architecture == edits["layer:layer1.2"].architecture
    one, other = (edits[f"channels:layer2.{number}.conv1:16"] for number in (1, 2))
    assert (one.architecture, one.inside, other.inside) == (other.architecture, "layer2.1", "layer2.2")
    assert edits["channels:layer2.0.conv1:16"].architecture != one.architecture


def test_an_edit_leaves_what_it_says() -> None:
    _, found = editor(models.build("cifar:resnet20", classes=10))
    seen = set()
    for edit in found.edits():
        if edit.architecture not in seen:
            seen.add(edit.architecture)
            left = found.apply(edit)
            assert architecture_hash(left) == edit.architecture
            assert (count(left, IMAGES), count_params(left)) == (edit.macs, edit.params)


def test_a_layer_costs_what_all_its_filters_score() -> None:
    graph, found = editor(models.build("cifar:resnet20", classes=10))
    edit = next(edit for edit in found.edits() if edit.id == "layer:layer1.1")
    scores = found._scores["weight_l1"]
    expected = scores["layer1.1.conv1"].double().sum() + scores["layer1.1.conv2"].double().sum()
    assert edit.costs == {"weight_l1": pytest.approx(float(expected))}


def test_channels_cost_what_goes_in_all_coupled_convolutions() -> None:
    _, found = editor(models.build("cifar:resnet20", classes=10))
    edit = next(edit for edit in found.edits() if edit.id == "channels:conv1:8")
    scores = found._scores["weight_l1"]
    writers = ["conv1", *(f"layer1.{block}.conv2" for block in range(3))]
    together = torch.stack([scores[name] for name in writers]).double().sum(0)
    assert edit.costs["weight_l1"] == pytest.approx(float(together.sort().values[:8].sum()))


def test_the_rise_of_the_loss_is_measured_edit_by_edit() -> None:
    _, found = editor(plain(), PruningSpec(methods=ALL, criteria=["weight_l1", LOSS]))
    assert found.criteria == ["weight_l1", LOSS]
    edits = found.edits()
    measured = found.with_loss(edits, lambda graph: float(count_params(graph)), checkpoint=lambda: None)
    whole = count_params(plain())
    assert [edit.costs[LOSS] for edit in measured] == [edit.params - whole for edit in edits]


def test_a_hybrid_plan_replays_and_names_nothing_that_went_with_a_layer() -> None:
    graph, found = editor(models.build("cifar:resnet20", classes=10))
    wanted = {"layer:layer2.1", "channels:layer2.2.conv1:16", "channels:layer2.0.conv1:8"}
    plan, left = found.plan(
        [edit for edit in found.edits() if edit.id in wanted], criterion="weight_l1", family="hybrid"
    )
    assert (plan.method, plan.remove, [name for name, _ in plan.prune]) == (
        *("hybrid", ("layer2.1",)),
        ["layer2.0.conv1", "layer2.2.conv1"],
    )
    pruned = apply_plan_(copy.deepcopy(graph), plan, IMAGES)
    assert (left.architecture, left.macs, left.params) == (
        *(architecture_hash(pruned), count(pruned, IMAGES)),
        count_params(pruned),
    )
    assert pruned(IMAGES).shape == (2, 10)


def test_groups_that_a_removal_joins_are_cut_as_one() -> None:
    graph, found = editor(plain())
    edits = {edit.id: edit for edit in found.edits()}
    assert edits["channels:2:16"].inside == "2"  # what the middle convolution makes goes with it
    plan, _ = found.plan([edits["layer:2"], edits["channels:0:16"]], criterion="weight_l1", family="hybrid")
    pruned = apply_plan_(copy.deepcopy(graph), plan, IMAGES)
    assert [(m.in_channels, m.out_channels) for m in pruned.modules() if isinstance(m, nn.Conv2d)] == [
        *((3, 16), (16, 32))
    ]


def test_kept_widths_are_multiples_of_the_smallest_alignment_asked_for() -> None:
    spec = PruningSpec(methods=["filter"], criteria=["weight_l1"], filters=FilterOptions(alignments=[1, 16, 32]))
    _, found = editor(plain(), spec)
    assert {edit.kept for edit in found.edits() if edit.kind == "channels"} == {16}


def test_too_many_architectures_leave_coarser_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerprune.planning.edits.MOST_ARCHITECTURES", 24)
    _, found = editor(models.build("cifar:resnet20", classes=10))
    edits = found.edits()
    assert len({edit.architecture for edit in edits}) <= 24
    assert {edit.target for edit in edits if edit.width == 64} >= {"layer3.0.conv1", "layer3.1.conv1"}


def test_hybrids_reach_further_than_their_layers_alone() -> None:
    graph, found = editor(models.build("cifar:resnet20", classes=10))
    (reach,) = found.reach(base_macs=count(graph, IMAGES))
    layers = sum(layer.macs for layer in find_layers(graph) if layer.default) / count(graph, IMAGES)
    assert reach.family == "hybrid"
    assert layers < reach.max_amount < 1


def test_amounts_are_met_by_hybrids_in_macs() -> None:
    spec = PruningSpec(methods=["hybrid"], criteria=["weight_l1"], amounts=[0.3, 0.6])
    graph, found = editor(models.build("cifar:resnet20", classes=10), spec)
    candidates = by_amounts(found, found.edits(), spec, base_macs=count(graph, IMAGES))
    assert [candidate.family for candidate in candidates] == ["hybrid"] * 2
    assert [candidate.amount for candidate in candidates] == pytest.approx([0.3, 0.6], abs=0.06)


def test_a_job_without_filter_scores_gets_a_guide_for_its_channels() -> None:
    assert with_guide(PruningSpec(methods=ALL, criteria=["imprinting", "random"])) == [
        *("imprinting", "random", "weight_l1")
    ]
    assert with_guide(PruningSpec(methods=["layer"], criteria=["imprinting"])) == ["imprinting"]
