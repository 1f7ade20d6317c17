from __future__ import annotations

from collections import defaultdict

import pytest
import torch
from torch import Tensor, fx, nn

from layerprune import models
from layerprune.api.pruning import FilterOptions, PruningSpec, TargetLists
from layerprune.planning.candidates import CandidateSet, enumerate_candidates
from layerprune.planning.labels import describe
from layerprune.planning.outcome import Outcome
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.layers import find_layers
from layerprune.structure.macs import count, count_params
from layerprune.structure.plan import Plan
from layerprune.structure.trace import trace

IMAGES = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
CRITERIA = ["first", "second", "layers_only"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def graph() -> fx.GraphModule:
    return trace(models.build("cifar:resnet20", classes=10, seed=1).eval(), IMAGES)


def enumerated(graph: fx.GraphModule, spec: PruningSpec) -> CandidateSet:
    generator = torch.Generator().manual_seed(0)

    def filters() -> dict[str, Tensor]:
        convolutions = {name: m for name, m in graph.named_modules() if isinstance(m, nn.Conv2d)}
        return {name: torch.rand(conv.out_channels, generator=generator) for name, conv in convolutions.items()}

    names = [layer.name for layer in find_layers(graph)]
    layer_scores = {
        criterion: dict(zip(names, torch.rand(len(names), generator=generator).tolist(), strict=True))
        for criterion in CRITERIA
    }
    layer_scores["first"] = dict.fromkeys(names, 1.0)
    return enumerate_candidates(graph, IMAGES, layer_scores, {"first": filters(), "second": filters()}, spec)


@pytest.fixture(scope="module")
def standard(graph: fx.GraphModule) -> CandidateSet:
    torch.set_num_threads(1)
    return enumerated(graph, PruningSpec(criteria=CRITERIA))


def test_layer_plans_are_nested_from_one_to_all(standard: CandidateSet) -> None:
    for criterion in CRITERIA:
        plans = [
            set(Plan.from_dict(candidate.plan).remove)
            for candidate in standard.candidates
            if candidate.family == "layer" and candidate.criterion == criterion
        ]
        assert [len(plan) for plan in plans] == [1, 2, 3, 4, 5, 6, 7]
        assert all(smaller < larger for smaller, larger in zip(plans, plans[1:], strict=False))


def test_ties_go_by_position(standard: CandidateSet) -> None:
    first = next(c for c in standard.candidates if c.criterion == "first" and len(c.plan["remove"]) == 2)
    assert first.plan["remove"] == ["layer1.0", "layer1.1"]


def test_every_candidate_removes_something_and_leaves_its_own_architecture(
    graph: fx.GraphModule, standard: CandidateSet
) -> None:
    keys = [(candidate.criterion, candidate.architecture) for candidate in standard.candidates]
    assert len(set(keys)) == len(keys)
    assert architecture_hash(graph) not in {architecture for _, architecture in keys}
    assert all(0 < candidate.amount < 1 for candidate in standard.candidates)
    assert {architecture for _, architecture in keys} == set(standard.plans)


def test_uniform_filter_plans_of_all_criteria_share_their_architectures(standard: CandidateSet) -> None:
    left = defaultdict(set)
    for candidate in standard.candidates:
        if candidate.family != "layer":
            left[candidate.criterion].add(candidate.architecture)
    assert left["first"] == left["second"]


def test_a_criterion_without_filter_form_gives_layers_and_a_note(standard: CandidateSet) -> None:
    assert {c.family for c in standard.candidates if c.criterion == "layers_only"} == {"layer"}
    assert any("layers_only" in note for note in standard.notes)


def test_filter_plans_step_through_the_macs_finely_enough(graph: fx.GraphModule, standard: CandidateSet) -> None:
    macs = sorted(c.macs for c in standard.candidates if c.family == "filter" and c.criterion == "first")
    between = [value for value in macs if value >= count(graph, IMAGES) * 0.5 / 3]
    # Widths are whole numbers, so small networks have wider steps than STEP here and there.
    assert all(smaller / larger > 0.84 for smaller, larger in zip(between, between[1:], strict=False))


def test_reach_is_the_furthest_of_each_family(standard: CandidateSet) -> None:
    reach = {entry.family: entry for entry in standard.reach}
    assert set(reach) == {"layer", "filter", "filter_aligned"}
    for family, entry in reach.items():
        amounts = [candidate.amount for candidate in standard.candidates if candidate.family == family]
        assert entry.max_amount == pytest.approx(max(amounts))
    assert "7 layers" in reach["layer"].stopped_by
    assert "4 channels" in reach["filter"].stopped_by
    assert "8" in reach["filter_aligned"].stopped_by


def test_rebuilding_an_architecture_gives_what_was_announced(standard: CandidateSet) -> None:
    for candidate in standard.candidates[:: len(standard.candidates) // 8]:
        rebuilt = standard.rebuild(candidate.architecture)
        assert architecture_hash(rebuilt) == candidate.architecture
        assert count(rebuilt, IMAGES) == candidate.macs
        assert count_params(rebuilt) == candidate.params


def test_named_amounts_give_the_nearest_plan_of_each_cell(graph: fx.GraphModule) -> None:
    spec = PruningSpec(criteria=["first", "second"], amounts=[0.5, 0.25], filters=FilterOptions(alignments=[1, 4, 8]))
    candidates = enumerated(graph, spec).candidates
    cells = defaultdict(list)
    for candidate in candidates:
        cells[candidate.criterion, candidate.family, candidate.alignment].append(candidate.amount)
    assert len(cells) == 2 * (1 + 3)
    for (_, family, _), amounts in cells.items():
        assert amounts == pytest.approx([0.25, 0.5], abs=0.06 if family == "layer" else 0.03)


def test_only_the_methods_asked_for_are_listed(graph: fx.GraphModule) -> None:
    spec = PruningSpec(criteria=["first"], methods=["filter"], filters=FilterOptions(alignments=[8]))
    found = enumerated(graph, spec)
    assert {candidate.family for candidate in found.candidates} == {"filter_aligned"}
    assert [entry.family for entry in found.reach] == ["filter_aligned"]


def test_budgets_in_milliseconds_leave_the_whole_range_open(graph: fx.GraphModule) -> None:
    spec = PruningSpec(criteria=["first"], methods=["filter"], targets=TargetLists(latency_ms=[1.0]))
    amounts = [candidate.amount for candidate in enumerated(graph, spec).candidates if candidate.family == "filter"]
    assert min(amounts) < 0.06
    assert max(amounts) > 0.95


def test_a_network_whose_filters_cannot_go_gives_layers_and_a_note() -> None:
    images = torch.rand(1, 3, 32, 32)
    model = models.build("torchvision:shufflenet_v2_x0_5", classes=10, seed=0)
    found = enumerated(trace(model.eval(), images), PruningSpec(criteria=CRITERIA))
    assert {candidate.family for candidate in found.candidates} == {"layer"}
    assert any("filters of this network cannot be pruned" in note for note in found.notes)
    assert {entry.family: entry.max_amount for entry in found.reach if entry.family != "layer"} == {
        "filter": 0.0,
        "filter_aligned": 0.0,
    }


def test_plans_that_could_remove_nothing_are_named_and_not_listed(graph: fx.GraphModule) -> None:
    spec = PruningSpec(criteria=["first"], methods=["filter"], filters=FilterOptions(alignments=[64]))
    found = enumerated(graph, spec)
    assert found.candidates == []
    assert found.notes == ["first: filters aligned to 64 remove nothing, no layer is wide enough"]


@pytest.mark.parametrize(
    ("remove", "prune", "expected"),
    [
        (("layer1.0", "layer1.1"), (), "first, 2 layers"),
        ((), (("conv1", (0,)),), "first, channels, -25% MACs, aligned to 8"),
        (("layer1.0",), (("conv1", (0,)),), "first, 1 layer and channels, -25% MACs, aligned to 8"),
    ],
)
def test_a_hybrid_is_labelled_as_what_it_is(
    remove: tuple[str, ...], prune: tuple[tuple[str, tuple[int, ...]], ...], expected: str
) -> None:
    plan = Plan("hybrid", "first", "base", remove=remove, prune=prune, alignment=8)
    assert describe("hybrid", plan, Outcome("left", params=1, macs=75), base_macs=100).label == expected
