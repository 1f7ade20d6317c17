"""Single edits of a network, what each costs and leaves, and plans that are made of several.

A layer goes, or a group of coupled channels keeps fewer; budgets are solved by adding such edits up (search.py).
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, fx

from layerprune.api.errors import BadInput
from layerprune.api.pruning import Family, PruningSpec
from layerprune.api.tasks import Edit, Reach
from layerprune.criteria import get
from layerprune.planning.filters import FilterPlanner, Ranking, Scores
from layerprune.planning.guide import guide
from layerprune.planning.outcome import Outcome, outcome_of
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.channels import ChannelGroup, is_made_inside, modules_of, prune_
from layerprune.structure.layers import Layer
from layerprune.structure.macs import count_params
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import remove_layers_, without_layers

LOSS = "loss_increase"
"""The criterion whose costs are measured edit by edit, and not summed from filters' scores."""
MOST_ARCHITECTURES = 160
MOST_BYTES = 4 << 30
"""A device has to time every distinct architecture, and each is a file with all its weights: no more than these."""
_WIDTHS = 7  # besides the full one
_DEFAULT_ALIGNMENT = 8


@dataclass(frozen=True)
class _Form:
    """What two edits share that leave the same network but for the place: blocks that could be swapped."""

    block: str
    number: int
    width: int
    kept: int


class Editor:
    """Enumerates the single edits of a graph and makes plans of several; the graph stays as it is.

    ``layers`` are those that may go. Groups keep multiples of the smallest alignment above 1 that the job names (8 if
    it names none), at most 8 widths each. ``notes`` says what cannot be edited, and why.
    """

    def __init__(
        self,
        graph: fx.GraphModule,
        example: Tensor,
        layers: Sequence[Layer],
        filter_scores: Mapping[str, Scores],
        spec: PruningSpec,
    ) -> None:
        self._graph, self._example, self._spec, self._scores = graph, example, spec, filter_scores
        self._layers = {layer.name: layer for layer in layers}
        self._base = architecture_hash(graph)
        self.alignment = min((a for a in spec.filters.alignments if a > 1), default=_DEFAULT_ALIGNMENT)
        self.notes: list[str] = []
        self._planner: FilterPlanner | None = None
        if set(spec.methods) != {"layer"} and filter_scores:
            try:
                self._planner = FilterPlanner(graph, example)
            except BadInput as error:
                self.notes.append(error.message)
        self._groups = {group.name: group for group in self._planner.groups} if self._planner else {}
        self._reduced: dict[frozenset[str], FilterPlanner] = {}
        self._rankings: dict[tuple[FilterPlanner, str], Ranking] = {}

    @property
    def criteria(self) -> list[str]:
        """The criteria by which layers and channels can be weighed together: those of the job whose costs add up.

        If none does but the control, or if it is asked for, the rise of the loss is one.
        """
        adding = [name for name in self._scores if name in self._spec.criteria and get(name).costs_add_up]
        measured = LOSS in self._spec.criteria or all(get(name).is_control for name in adding)
        return [*adding, LOSS] if measured and self._guide(LOSS) in self._scores else adding

    def edits(self) -> list[Edit]:
        """Every single edit with the costs that are sums of scores, in forward order, layers first.

        Widths within blocks that could be swapped share one architecture, that of the first. If there are too many
        distinct ones, every group loses every second width, and in the end the groups that save least.
        """
        return [edit.model_copy(update={"costs": self._costs(edit)}) for edit in self._bare_edits]

    def with_loss(
        self, edits: Sequence[Edit], loss_of: Callable[[fx.GraphModule], float], *, checkpoint: Callable[[], None]
    ) -> list[Edit]:
        """Add to each edit's costs the rise of the loss that it causes alone; ``loss_of`` may change its graph."""
        whole = loss_of(copy.deepcopy(self._graph))
        measured = []
        for edit in edits:
            checkpoint()
            rise = loss_of(self.apply(edit)) - whole
            measured.append(edit.model_copy(update={"costs": edit.costs | {LOSS: rise}}))
        return measured

    def apply(self, edit: Edit) -> fx.GraphModule:
        """A copy of the graph with one edit made; the channels that go are those of the criterion that guides."""
        graph = copy.deepcopy(self._graph)
        if edit.kind == "layer":
            remove_layers_(graph, [self._layers[edit.target]])
        else:
            assert self._planner is not None
            prune_(graph, self._planner.groups, [(edit.target, self._gone(edit, LOSS))])
        return graph

    def plan(self, edits: Iterable[Edit], *, criterion: str, family: Family) -> tuple[Plan, Outcome]:
        """The plan that makes all these edits at once, and what it leaves.

        Layers go first; channels are then ranked in what is left. Groups that a removal has joined keep the widest of
        their widths.
        """
        chosen = list(edits)
        names = {edit.target for edit in chosen if edit.kind == "layer"}
        removed = [layer for layer in self._layers.values() if layer.name in names]
        reduced = without_layers(self._graph, removed) if removed else self._graph
        cuts: list[tuple[str, tuple[int, ...]]] = []
        kept = {edit.target: edit.kept for edit in chosen if edit.kind == "channels"}
        planner = self._planner
        if kept:
            planner = self._planner_without(reduced, frozenset(names)) if removed else planner
            assert planner is not None
            for group in planner.groups:
                makers = {member.name for member in group.members if member.side == "out"}
                joined = [name for name in self._groups if name in makers]
                width = max((kept.get(name, group.width) for name in joined), default=group.width)
                gone = planner.lowest(self._ranking(planner, self._guide(criterion)), group, width)
                cuts += [(group.name, gone)] if gone else []
        filters = family in ("filter", "filter_aligned")
        plan = Plan(
            method="filter" if filters else "hybrid" if family == "hybrid" else "layer",
            criterion=criterion,
            base_architecture=self._base,
            remove=tuple(layer.name for layer in removed),
            prune=tuple(cuts),
            alignment=self.alignment if family != "layer" else 1,
            min_channels=self._spec.filters.min_channels if family != "layer" else 1,
        )
        if cuts and planner is not None:
            return plan, planner.outcome(plan)
        return plan, outcome_of(reduced)

    def _planner_without(self, reduced: fx.GraphModule, layers: frozenset[str]) -> FilterPlanner:
        """The planner of what some layers' removal leaves; a search comes back to the same layers again and again."""
        if layers not in self._reduced:
            self._reduced[layers] = FilterPlanner(reduced, self._example)
        return self._reduced[layers]

    def reach(self, *, base_macs: int) -> list[Reach]:
        """The furthest that hybrids can go, if the job wants them: every layer gone, the rest at its narrowest."""
        edits = self._bare_edits if "hybrid" in self._spec.methods else []
        if not edits:
            return []
        narrowest = {(edit.kind, edit.target): edit for edit in sorted(edits, key=lambda edit: -edit.kept)}
        _, left = self.plan(narrowest.values(), criterion=LOSS, family="hybrid")
        why = f"depth and alignment: no more layers can go, and widths are multiples of {self.alignment}"
        return [Reach(family="hybrid", max_amount=max(0.0, 1 - left.macs / base_macs), stopped_by=why)]

    @cached_property
    def _bare_edits(self) -> list[Edit]:
        found = [self._layer_edit(layer) for layer in self._layers.values()]
        if self._planner is not None:
            found += self._channel_edits({edit.target: edit for edit in found})
        return found

    def _layer_edit(self, layer: Layer) -> Edit:
        left = outcome_of(without_layers(self._graph, [layer]))
        return Edit(
            id=f"layer:{layer.name}",
            kind="layer",
            target=layer.name,
            inside=layer.parent if layer.parent in self._layers else None,
            costs={},
            architecture=left.architecture,
            macs=left.macs,
            params=left.params,
        )

    def _channel_edits(self, layer_edits: Mapping[str, Edit]) -> list[Edit]:
        assert self._planner is not None
        ladders = {name: self._widths(group) for name, group in self._groups.items()}
        around = {name: self._around(group) for name, group in self._groups.items()}
        numbers: dict[str | None, int] = defaultdict(int)
        forms: dict[str, tuple[str, int]] = {}
        for name, layer in around.items():
            swappable = layer is not None and layer_edits[layer].inside is None and self._is_inside(layer, name)
            forms[name] = (layer_edits[layer].architecture if layer and swappable else name, numbers[layer])
            numbers[layer] += 1

        def form(name: str, kept: int) -> _Form:
            return _Form(*forms[name], self._groups[name].width, kept)

        most = max(24, min(MOST_ARCHITECTURES, MOST_BYTES // (4 * max(1, count_params(self._graph)))))
        room = most - len({edit.architecture for edit in layer_edits.values()})
        while len({form(name, kept) for name, widths in ladders.items() for kept in widths}) > room:
            if max(map(len, ladders.values())) == 1:
                least = min((name for name in ladders if ladders[name]), key=lambda name: self._groups[name].width)
                ladders[least] = []
            else:
                ladders = {name: widths[1::2] if len(widths) > 1 else widths for name, widths in ladders.items()}
        outcomes: dict[_Form, Outcome] = {}
        found = []
        for name, widths in ladders.items():
            for kept in widths:
                edit = Edit(
                    id=f"channels:{name}:{kept}",
                    kind="channels",
                    target=name,
                    inside=around[name],
                    width=self._groups[name].width,
                    kept=kept,
                    costs={},
                    architecture=self._base,
                    macs=0,
                    params=0,
                )
                left = outcomes.get(form(name, kept))
                if left is None:
                    cut = (name, self._gone(edit, LOSS))
                    left = self._planner.outcome(Plan("filter", "", self._base, prune=(cut,)))
                    outcomes[form(name, kept)] = left
                found.append(
                    edit.model_copy(
                        update={"architecture": left.architecture, "macs": left.macs, "params": left.params}
                    )
                )
        return found

    def _widths(self, group: ChannelGroup) -> list[int]:
        """The widths that a group may keep, rising: multiples of the alignment, as coarse as it takes."""
        if group.name not in self._ranking_of_base(LOSS).order:
            return []
        step = math.lcm(self.alignment, group.parts)
        while (group.width - 1) // step > _WIDTHS:
            step *= 2
        least = min(group.width, self._spec.filters.min_channels)
        return [width for width in range(step, group.width, step) if width >= least]

    def _around(self, group: ChannelGroup) -> str | None:
        """The innermost layer that takes the group along."""
        inside = [name for name, layer in self._layers.items() if is_made_inside(self._graph, layer, group)]
        return inside[-1] if inside else None

    def _is_inside(self, layer: str, group: str) -> bool:
        """Whether nothing outside the layer reads the group's channels."""
        modules = modules_of(self._graph, self._layers[layer])
        return all(member.name in modules for member in self._groups[group].members)

    def _costs(self, edit: Edit) -> dict[str, float]:
        return {name: self._cost(edit, name) for name in self.criteria if name != LOSS}

    def _cost(self, edit: Edit, criterion: str) -> float:
        scores = self._scores[criterion]
        if edit.kind == "layer":
            modules = modules_of(self._graph, self._layers[edit.target])
            return sum(
                float(values.double().sum())
                for name, values in scores.items()
                if name in modules or name.rpartition(".")[0] in modules
            )
        gone = frozenset(self._gone(edit, criterion))
        total = 0.0
        for member in self._groups[edit.target].members:
            if member.side == "out" and member.name in scores:
                pairs = zip(member.channels, member.of_group, strict=True)
                lost = [channel for channel, leader in pairs if leader in gone]
                total += float(scores[member.name].double()[lost].sum())
        return total

    def _gone(self, edit: Edit, criterion: str) -> tuple[int, ...]:
        assert self._planner is not None
        return self._planner.lowest(self._ranking_of_base(criterion), self._groups[edit.target], edit.kept)

    def _guide(self, criterion: str) -> str:
        return guide(criterion, self._scores, self._spec)

    def _ranking_of_base(self, criterion: str) -> Ranking:
        assert self._planner is not None
        return self._ranking(self._planner, self._guide(criterion))

    def _ranking(self, planner: FilterPlanner, criterion: str) -> Ranking:
        key = (planner, criterion)
        if key not in self._rankings:
            self._rankings[key] = planner.rank(self._scores[criterion])
        return self._rankings[key]
