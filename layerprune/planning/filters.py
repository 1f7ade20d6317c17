"""Filter plans: which channels go, by our own scores, on torch-pruning's groups of coupled channels.

A criterion means the same for filters as for layers because the same scores drive both. How many channels a group keeps
is decided here, not by torch-pruning, which rounds what is kept down and so removes more than was asked for.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, fx, nn

from layerprune.api.errors import BadInput
from layerprune.planning.outcome import Outcome
from layerprune.structure import operations
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.channels import ChannelGroup, Cut, cannot_prune, find_groups, prune_
from layerprune.structure.macs import count, count_params
from layerprune.structure.plan import Plan
from layerprune.structure.trace import Untraceable, propagate

Scope = Literal["uniform", "global"]
Scores = Mapping[str, Tensor]
"""Of each convolution, by its module's name, one importance per output channel: shape (C_out,)."""


def filter_plan(
    graph: fx.GraphModule,
    example: Tensor,
    scores: Scores,
    *,
    criterion: str,
    ratio: float,
    alignment: int = 1,
    scope: Scope = "uniform",
    min_channels: int = 4,
) -> Plan:
    """Plan to remove about the fraction ``ratio`` of the channels; see ``FilterPlanner`` for many plans at once.

    Raises BadInput if torch-pruning cannot follow the network or no channels can go.
    """
    planner = FilterPlanner(graph, example)
    plan = planner.plan(
        planner.rank(scores),
        criterion=criterion,
        ratio=ratio,
        alignment=alignment,
        scope=scope,
        min_channels=min_channels,
    )
    planner.check(plan)
    return plan


@dataclass(frozen=True)
class Ranking:
    """Of each group that has scores, by name: the importance of its places, and the places from the lowest up."""

    importance: Mapping[str, Tensor]
    order: Mapping[str, list[int]]


class FilterPlanner:
    """Makes filter plans for one graph; the groups of coupled channels are found once. The graph stays as it is."""

    def __init__(self, graph: fx.GraphModule, example: Tensor) -> None:
        self._graph = graph
        self._example = example
        self._architecture = architecture_hash(graph)
        groups = find_groups(graph, example)
        members = [member for group in groups for member in group.members]
        self._coupled = {member.name for member in members if member.side != "parameter"}
        self._loose = {member.name for member in members if member.side == "parameter"}
        # Pruning replaces a module's tensors and never writes into them, so one copy without weights serves all plans.
        self._sketch = fx.GraphModule(graph, copy.deepcopy(graph.graph))
        weighted = [node for node in graph.graph.nodes if operations.is_weighted(node)]
        self._costs = [(str(node.target), _sides(node) or (1, 1), int(node.meta["macs"])) for node in weighted]
        self._counts_exactly = all(_sides(node) is not None for node in weighted)
        self.groups: tuple[ChannelGroup, ...] = self._losable(groups)

    def _losable(self, groups: Sequence[ChannelGroup]) -> tuple[ChannelGroup, ...]:
        """The groups without whose first channels the network still runs.

        Tracing writes sizes into the graph, such as the number of heads; groups whose width stands there must stay.
        """
        if self._runs_without(groups):
            return tuple(groups)
        kept = tuple(group for group in groups if self._runs_without([group]))
        if not kept:
            raise cannot_prune("every size that could change is written into its graph as a number")
        return kept

    def _runs_without(self, groups: Sequence[ChannelGroup]) -> bool:
        firsts = [
            (group.name, tuple(part * (group.width // group.parts) for part in range(group.parts)))
            for group in groups
            if group.width > group.parts
        ]
        try:
            propagate(self._cut(groups, firsts), self._example)
        except Untraceable:
            return False
        return True

    def rank(self, scores: Scores) -> Ranking:
        """Bring the scores of single convolutions to the groups: a group's is the mean over its coupled convolutions.

        In a group of several parts, a place counts as the mean over the parts. Ties are broken by position.
        """
        importance = {}
        for group in self.groups:
            places = group_scores(group, scores)
            if places is not None:
                importance[group.name] = places
        order = {name: torch.argsort(places, stable=True).tolist() for name, places in importance.items()}
        return Ranking(importance, order)

    def plan(
        self, ranking: Ranking, *, criterion: str, ratio: float, alignment: int, scope: Scope, min_channels: int
    ) -> Plan:
        """Plan to remove about the fraction ``ratio`` of the channels, the lowest first.

        ``uniform`` takes the same fraction from every group, whatever its scores say; ``global`` takes it from all
        channels together, ranked by score over the mean of the group. What a group keeps is then moved to the nearest
        multiple of ``alignment``, at least ``min_channels``. Groups not wider than the alignment, and groups without
        scores, stay whole.
        """
        if not 0 <= ratio <= 1:
            raise BadInput(f"a pruning ratio lies between 0 and 1, this is {ratio}", field="ratio", value=ratio)
        groups = [group for group in self.groups if group.name in ranking.order]
        if scope == "uniform":
            wanted = {group: group.width * (1 - ratio) for group in groups}
        else:
            wanted = _global_widths(groups, ranking, ratio)
        cuts = []
        excess: dict[int, float] = {}
        for group in groups:
            # What rounding leaves too much in one group, the next of the same width gives, so that the whole hits the
            # ratio and aligned plans are not confined to the few ratios at which every group jumps at once.
            aim = wanted[group] - excess.get(group.width, 0.0)
            kept = _nearest_width(group, aim, alignment=alignment, min_channels=min_channels)
            excess[group.width] = kept - aim
            gone = self.lowest(ranking, group, kept)
            if gone:
                cuts.append((group.name, gone))
        return Plan(
            method="filter",
            criterion=criterion,
            base_architecture=self._architecture,
            prune=tuple(cuts),
            alignment=alignment,
            scope=scope,
            min_channels=min_channels,
        )

    def lowest(self, ranking: Ranking, group: ChannelGroup, kept: int) -> tuple[int, ...]:
        """The channels that go when a group keeps so many, a multiple of its parts: the lowest of each part."""
        size = group.width // group.parts
        places = ranking.order[group.name][: (group.width - kept) // group.parts]
        return tuple(sorted(part * size + place for part in range(group.parts) for place in places))

    def widths(self, plan: Plan) -> tuple[int, ...]:
        """What each group keeps: plans with the same widths leave the same architecture."""
        gone = dict(plan.prune)
        return tuple(group.width - len(gone.get(group.name, ())) for group in self.groups)

    def macs(self, plan: Plan) -> int:
        """Multiply-accumulates at batch 1 that the plan leaves, from the widths alone: at once, and exact where every
        weight belongs to a convolution or a linear layer."""
        gone_of = {name: frozenset(gone) for name, gone in plan.prune}
        lost: dict[tuple[str, str], int] = {}
        for group in self.groups:
            gone = gone_of.get(group.name, frozenset())
            for member in group.members if gone else ():
                side = (member.name, member.side)
                lost[side] = lost.get(side, 0) + member.count(gone)
        total = 0
        for name, (inputs, outputs), macs in self._costs:
            left = (inputs - lost.get((name, "in"), 0)) * (outputs - lost.get((name, "out"), 0))
            total += macs * left // (inputs * outputs)
        return total

    def outcome(self, plan: Plan) -> Outcome:
        """What the plan leaves, found without a copy of the weights."""
        pruned = self._pruned(plan)
        if self._counts_exactly:
            macs = self.macs(plan)
        else:
            macs = count(pruned, self._example)
        return Outcome(architecture_hash(pruned), count_params(pruned), macs)

    def check(self, plan: Plan) -> None:
        """Raise BadInput if what the plan leaves does not run: sizes that tracing wrote into the graph may not fit."""
        try:
            propagate(self._pruned(plan), self._example)
        except Untraceable as error:
            raise cannot_prune(error.message) from error

    def _pruned(self, plan: Plan) -> fx.GraphModule:
        return self._cut(self.groups, plan.prune)

    def _cut(self, groups: Sequence[ChannelGroup], cuts: Sequence[Cut]) -> fx.GraphModule:
        for name in self._coupled:
            self._sketch.set_submodule(name, _shell(self._graph.get_submodule(name)))
        for name in self._loose:
            owner, _, own = name.rpartition(".")
            setattr(self._sketch.get_submodule(owner), own, self._graph.get_parameter(name))
        prune_(self._sketch, groups, cuts)
        return self._sketch


def _shell(module: nn.Module) -> nn.Module:
    """A copy of a module that shares its tensors but not the places where it keeps them."""
    shell = copy.copy(module)
    shell.__dict__.update(
        _parameters=dict(module._parameters),
        _buffers=dict(module._buffers),
        _modules={name: child and _shell(child) for name, child in module._modules.items()},
    )
    return shell


def group_scores(group: ChannelGroup, scores: Scores) -> Tensor | None:
    """Importance of each place of a group: the mean over its scored convolutions and its parts; None without any."""
    rows = []
    for member in group.members:
        if member.side == "out" and member.name in scores:
            values = scores[member.name].detach().double().cpu()
            if values.ndim != 1 or len(values) <= max(member.channels) or not torch.isfinite(values).all():
                raise BadInput(
                    f"the scores of {member.name!r} are not {max(member.channels) + 1} finite numbers",
                    field="scores",
                    value=member.name,
                )
            leaders = torch.tensor(member.of_group)
            summed = torch.zeros(group.width, dtype=torch.float64)
            summed.index_add_(0, leaders, values[torch.tensor(member.channels)])
            rows.append(summed / torch.bincount(leaders, minlength=group.width).clamp(min=1))
    if not rows:
        return None
    return torch.stack(rows).mean(0).reshape(group.parts, -1).mean(0)


def _global_widths(groups: Sequence[ChannelGroup], ranking: Ranking, ratio: float) -> dict[ChannelGroup, float]:
    """What each group keeps when the lowest of all channels go, each counted relative to its group's mean score."""
    relative: list[tuple[float, int, int]] = []
    for index, group in enumerate(groups):
        importance = ranking.importance[group.name]
        scale = float(importance.abs().mean()) or 1.0
        relative += [(score / scale, index, group.parts) for score in importance.tolist()]
    budget = round(ratio * sum(group.width for group in groups))
    kept = {group: float(group.width) for group in groups}
    for _, index, channels in sorted(relative):
        if channels > budget:
            break
        budget -= channels
        kept[groups[index]] -= channels
    return kept


def _sides(node: fx.Node) -> tuple[int, int] | None:
    """Channels in and out of a convolution or linear layer, to whose product its MACs are proportional."""
    module = operations.module_of(node)
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return module.in_channels, module.out_channels
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    return None


def _nearest_width(group: ChannelGroup, wanted: float, *, alignment: int, min_channels: int) -> int:
    """The allowed width nearest to ``wanted``, the wider of two: whole, or a multiple of alignment and parts."""
    step = math.lcm(alignment, group.parts)
    if group.width <= alignment:
        return group.width
    least = min(group.width, max(min_channels, 1))
    allowed = [width for width in range(step, group.width, step) if width >= least]
    return min([group.width, *reversed(allowed)], key=lambda width: abs(width - wanted))
