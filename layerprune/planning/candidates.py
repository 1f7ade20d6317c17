"""Every plan that is worth a look, with what it would leave; nothing is trained or measured here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, fx

from layerprune.api.errors import BadInput
from layerprune.api.pruning import Family, PruningSpec
from layerprune.api.tasks import Candidate, Edit, Reach
from layerprune.planning.budgets import Budgeted, plan_within
from layerprune.planning.edits import Editor
from layerprune.planning.filters import FilterPlanner, Scope, Scores
from layerprune.planning.labels import describe
from layerprune.planning.outcome import Outcome, outcome_of
from layerprune.planning.search import costs_by_criterion
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.layers import Layer, candidates_of, find_layers
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import apply_plan_, without_layers

STEP = 0.05
"""Filter plans of one cell differ by at least this fraction of MACs: narrower than the window of -6 to +3 % of latency
in which a plan counts as meeting a target, and wide enough that the sweep stays short."""
_RATIOS = tuple(step / 128 for step in range(1, 129))


@dataclass(frozen=True)
class CandidateSet:
    """Candidates in a fixed order; ``plans`` holds one plan for each distinct architecture."""

    candidates: list[Candidate]
    plans: dict[str, Plan]
    reach: list[Reach]
    notes: list[str]
    _graph: fx.GraphModule = field(repr=False)
    _example: Tensor = field(repr=False)

    def rebuild(self, architecture: str) -> fx.GraphModule:
        """A copy of the base with the plan applied that leaves this architecture."""
        return apply_plan_(copy.deepcopy(self._graph), self.plans[architecture], self._example)


def enumerate_candidates(
    graph: fx.GraphModule,
    example: Tensor,
    layer_scores: Mapping[str, Mapping[str, float]],
    filter_scores: Mapping[str, Scores],
    spec: PruningSpec,
) -> CandidateSet:
    """List the plans of every criterion of ``spec``, layers first, from the least to the most removed.

    Scores are by criterion; a criterion that ``filter_scores`` lacks has no filter form and gives layer plans only.
    When ``spec`` names amounts, only the plan nearest to each amount is kept. Plans of one criterion that leave the
    same architecture are listed once, under the largest alignment that they keep.
    """
    makers: list[_Layers | _Filters] = []
    notes: list[str] = []
    reach: list[Reach] = []
    base_macs = sum(int(node.meta["macs"]) for node in graph.graph.nodes)
    base = _Base(graph, example, base_macs, architecture_hash(graph))
    if "layer" in spec.methods:
        makers.append(_Layers(base, layer_scores, spec))
    if "filter" in spec.methods:
        missing = [name for name in spec.criteria if name not in filter_scores]
        notes += [f"{name} has no filter form: it gives layer plans only" for name in missing]
        try:
            makers.append(_Filters(base, filter_scores, spec))
        except BadInput as error:
            notes.append(error.message)
            families = sorted({_family(alignment) for alignment in spec.filters.alignments})
            reach += [Reach(family=family, max_amount=0.0, stopped_by=error.message) for family in families]
    candidates: list[Candidate] = []
    plans: dict[str, Plan] = {}
    seen = {("", base.architecture)}
    for maker in makers:
        for family, plan, left in maker.plans():
            if {(plan.criterion, left.architecture), ("", left.architecture)} & seen:
                continue
            seen.add((plan.criterion, left.architecture))
            plans.setdefault(left.architecture, plan)
            candidates.append(describe(family, plan, left, base_macs=base_macs))
        reach += maker.reach()
        notes += maker.notes
    return CandidateSet(candidates, plans, reach, notes, graph, example)


@dataclass(frozen=True)
class _Base:
    graph: fx.GraphModule
    example: Tensor
    macs: int
    architecture: str

    def amount(self, macs: int) -> float:
        return 1 - macs / self.macs if self.macs else 0.0


_Offer = tuple[Family, Plan, Outcome]


class _Layers:
    """Layer plans: per criterion, the least important layer, the two least important, up to all."""

    def __init__(self, base: _Base, scores: Mapping[str, Mapping[str, float]], spec: PruningSpec) -> None:
        self._base, self._scores, self._spec = base, scores, spec
        found = find_layers(base.graph, width_changing=spec.layers.width_changing)
        self._layers = candidates_of(found, spec.layers)
        self._known: dict[tuple[str, ...], Outcome] = {}
        self.notes: list[str] = []

    def plans(self) -> Iterator[_Offer]:
        for criterion in self._spec.criteria:
            nested = [self._plan(criterion, chosen) for chosen in self._nested(criterion)]
            for plan in _nearest(nested, self._spec.amounts, lambda plan: self._base.amount(self._left(plan).macs)):
                yield "layer", plan, self._left(plan)

    def reach(self) -> list[Reach]:
        count = len(self._layers)
        macs = sum(int(node.meta["macs"]) for node in without_layers(self._base.graph, self._layers).graph.nodes)
        why = f"depth: {count} layers can go, every other one changes the shape of its input"
        if not count:
            why = "depth: every layer changes the shape of its input"
        return [Reach(family="layer", max_amount=self._base.amount(macs), stopped_by=why)]

    def _nested(self, criterion: str) -> Iterator[Sequence[Layer]]:
        scores = self._scores[criterion]
        lost = [layer.name for layer in self._layers if layer.name not in scores]
        if lost:
            raise BadInput(f"{criterion} gives no score for layer {lost[0]!r}", field="criteria", value=criterion)
        places = sorted(range(len(self._layers)), key=lambda place: (scores[self._layers[place].name], place))
        for count in range(1, len(places) + 1):
            yield [self._layers[place] for place in sorted(places[:count])]

    def _plan(self, criterion: str, chosen: Sequence[Layer]) -> Plan:
        names = tuple(layer.name for layer in chosen)
        return Plan("layer", criterion, self._base.architecture, remove=names)

    def _left(self, plan: Plan) -> Outcome:
        if plan.remove not in self._known:
            sketch = without_layers(self._base.graph, [layer for layer in self._layers if layer.name in plan.remove])
            self._known[plan.remove] = outcome_of(sketch)
        return self._known[plan.remove]


class _Filters:
    """Filter plans: per criterion, alignment and scope, a ladder of ratios in steps of MACs."""

    def __init__(self, base: _Base, scores: Mapping[str, Scores], spec: PruningSpec) -> None:
        self._base, self._scores, self._spec = base, scores, spec
        self._planner = FilterPlanner(base.graph, base.example)
        self._rankings = {name: self._planner.rank(scores[name]) for name in spec.criteria if name in scores}
        self._known: dict[tuple[int, ...], Outcome] = {}
        self._furthest: dict[Family, tuple[int, int]] = {}
        self.notes: list[str] = []
        for criterion in list(self._rankings)[:1]:
            self._planner.check(self._plan(criterion, 1.0, min(spec.filters.alignments), "uniform"))

    def plans(self) -> Iterator[_Offer]:
        for criterion in self._rankings:
            for alignment in sorted(set(self._spec.filters.alignments), reverse=True):
                for scope in self._spec.filters.scopes:
                    yield from self._cell(criterion, alignment, scope)

    def reach(self) -> list[Reach]:
        found = []
        for family, (macs, alignment) in self._furthest.items():
            least = max(alignment, self._spec.filters.min_channels)
            why = f"channel floor: at least {least} channels stay in every layer"
            if family == "filter_aligned":
                why = f"alignment: widths are multiples of {alignment}, and layers that are not wider stay whole"
            found.append(Reach(family=family, max_amount=self._base.amount(macs), stopped_by=why))
        return found

    def _cell(self, criterion: str, alignment: int, scope: Scope) -> Iterator[_Offer]:
        family = _family(alignment)
        grid: dict[int, Plan] = {}
        for ratio in _RATIOS:
            plan = self._plan(criterion, ratio, alignment, scope)
            grid.setdefault(self._planner.macs(plan), plan)
        lowest = min(grid)
        self._furthest[family] = min(self._furthest.get(family, (lowest, alignment)), (lowest, alignment))
        if self._spec.amounts:
            chosen = _nearest(list(grid.values()), self._spec.amounts, lambda plan: self._amount(plan))
        else:
            chosen = _ladder(grid, self._base.macs, self._spec)
        if all(plan.is_empty for plan in grid.values()):
            everywhere = " (global)" if scope == "global" else ""
            aligned = f"aligned to {alignment}" if alignment > 1 else "unaligned"
            self.notes.append(f"{criterion}: filters {aligned}{everywhere} remove nothing, no layer is wide enough")
        for plan in chosen:
            if not plan.is_empty:
                yield family, plan, self._left(plan)

    def _plan(self, criterion: str, ratio: float, alignment: int, scope: Scope) -> Plan:
        return self._planner.plan(
            self._rankings[criterion],
            criterion=criterion,
            ratio=ratio,
            alignment=alignment,
            scope=scope,
            min_channels=self._spec.filters.min_channels,
        )

    def _amount(self, plan: Plan) -> float:
        return self._base.amount(self._planner.macs(plan))

    def _left(self, plan: Plan) -> Outcome:
        widths = self._planner.widths(plan)
        if widths not in self._known:
            self._known[widths] = self._planner.outcome(plan)
        return self._known[widths]


def _family(alignment: int) -> Family:
    return "filter" if alignment == 1 else "filter_aligned"


def _ladder(grid: Mapping[int, Plan], base_macs: int, spec: PruningSpec) -> list[Plan]:
    """Plans from the most to the least MACs, each at least ``STEP`` below the one before, and the furthest one.

    Where every target is a ratio, MACs far from all of them are left out: latency falls hardly ever faster than MACs,
    and a third of a target's MACs leaves room for kernels that gain little from odd widths.
    """
    ratios = [target.ratio for target in spec.target_list() if target.ratio is not None]
    bounded = ratios and len(ratios) == len(spec.target_list())
    below, lowest = (1.1 * max(ratios) * base_macs, min(ratios) / 3 * base_macs) if bounded else (base_macs, 0.0)
    chosen = []
    for macs in sorted(grid, reverse=True):
        if lowest <= macs <= below:
            chosen.append(grid[macs])
            below = macs * (1 - STEP)
    furthest = grid[min(grid)]
    return chosen if furthest in chosen else [*chosen, furthest]


def _nearest(plans: Sequence[Plan], amounts: Iterable[float] | None, amount_of: Callable[[Plan], float]) -> list[Plan]:
    """The plan nearest to each amount, each once; all plans if no amounts are named."""
    if not amounts:
        return list(plans)
    chosen = [min(plans, key=lambda plan: abs(amount_of(plan) - amount)) for amount in sorted(amounts) if plans]
    return [plan for place, plan in enumerate(chosen) if plan not in chosen[:place]]


def by_amounts(editor: Editor, edits: Sequence[Edit], spec: PruningSpec, *, base_macs: int) -> list[Candidate]:
    """For each amount and criterion the hybrid that costs least and removes as much of the base's MACs at least.

    Multiply-accumulates take the place of latency in the program of search.py.
    """
    if not spec.amounts or "hybrid" not in spec.methods:
        return []
    ratios = {edit.architecture: edit.macs / base_macs for edit in edits}
    found: dict[str, Candidate] = {}
    for criterion, costs in costs_by_criterion(edits, {}, "hybrid").items():
        for amount in sorted(spec.amounts):
            planned = plan_within(
                1 - amount,
                editor,
                edits,
                ratios,
                family="hybrid",
                criterion=criterion,
                costs=costs,
                base_macs=base_macs,
            )
            if isinstance(planned, Budgeted) and not planned.plan.is_empty:
                candidate = describe("hybrid", planned.plan, planned.left, base_macs=base_macs)
                found.setdefault(f"{criterion} {candidate.plan_hash}", candidate)
    return list(found.values())
