"""Which channels are coupled to which, and how to take them out, on torch-pruning's dependency graph.

G. Fang et al., "DepGraph: Towards Any Structural Pruning" (CVPR 2023).
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch_pruning
from torch import Tensor, fx, nn

from layerprune.api.errors import BadInput

from . import operations
from .layers import Layer
from .trace import evaluating

Cut = tuple[str, tuple[int, ...]]
"""A module's name and those of its output channels that go, with everything coupled to them."""
_ACTIVATIONS = ("elu", "silu", "swish", "mish", "tanh", "sigmoid", "dropout", "identity")
_MOST_STEPS = 200_000
"""Dependencies that are followed before the groups are given up; a network of 121 layers of which each meets all later
ones takes 13,000."""


@dataclass(frozen=True)
class Member:
    """One side of a module in a group: its channel ``channels[i]`` goes with the group's channel ``of_group[i]``.

    A loose parameter has no sides; its channels lie along ``dim``.
    """

    name: str
    side: Literal["in", "out", "parameter"]
    channels: tuple[int, ...]
    of_group: tuple[int, ...]
    dim: int = 0

    def count(self, gone: frozenset[int]) -> int:
        """How many channels this side loses when ``gone`` leave the group."""
        if self.of_group == self.channels:
            return len(gone)
        return sum(leader in gone for leader in self.of_group)


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only go together, named after the module that leads them.

    They fall into ``parts`` of equal size (grouped convolutions): from each part the same places have to go.
    """

    name: str
    width: int
    parts: int
    members: tuple[Member, ...]


def find_groups(graph: fx.GraphModule, example: Tensor) -> tuple[ChannelGroup, ...]:
    """The coupled channels of a graph; the network's outputs are no group, its inputs cannot be one.

    Where torch-pruning cannot follow the network, as through shifted windows, only the hidden widths of its MLPs are
    groups; raises BadInput if it has none either.
    """
    answers = {str(node.target) for node in operations.answering(graph.graph)}
    try:
        found = _coupled(graph, example)
    except BadInput:
        found = _hidden(graph)
        if not found:
            raise
    order = {str(node.target): place for place, node in enumerate(graph.graph.nodes)}
    groups = [group for group in found if not any(m.side == "out" and m.name in answers for m in group.members)]
    return tuple(sorted(groups, key=lambda group: order[group.name]))


def _coupled(graph: fx.GraphModule, example: Tensor) -> list[ChannelGroup]:
    """What torch-pruning finds."""
    names: dict[object, str] = {module: name for name, module in graph.named_modules()}
    names.update({parameter: name for name, parameter in graph.named_parameters()})
    with _answering(), evaluating(graph), torch.enable_grad():
        dependencies = torch_pruning.DependencyGraph().build_dependency(
            graph, example_inputs=(example[:1],), verbose=False
        )
        _bound_(graph, dependencies)
        described = [_describe(dependencies, group, names) for group in dependencies.get_all_groups()]
    return [group for group in described if group is not None]


def _hidden(graph: fx.GraphModule) -> list[ChannelGroup]:
    """The widths between two linear layers with nothing but activations and dropout in between."""
    found = []
    calls = Counter(str(node.target) for node in graph.graph.nodes if node.op == "call_module")
    for node in graph.graph.nodes:
        first, reader = operations.module_of(node), _only_user(node)
        while reader is not None and _is_activation(reader):
            reader = _only_user(reader)
        second = operations.module_of(reader) if reader is not None else None
        if isinstance(first, nn.Linear) and isinstance(second, nn.Linear) and reader is not None:
            maker, reading, channels = str(node.target), str(reader.target), tuple(range(first.out_features))
            if calls[maker] == calls[reading] == 1:
                members = Member(maker, "out", channels, channels), Member(reading, "in", channels, channels)
                found.append(ChannelGroup(maker, len(channels), 1, members))
    return found


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _is_activation(node: fx.Node) -> bool:
    named = any(word in operations.label(node) for word in _ACTIVATIONS)
    return named and operations.is_elementwise(node) and not operations.parameters(node)


def check_cuts(groups: Sequence[ChannelGroup], cuts: Sequence[Cut]) -> None:
    """Raise BadInput if a cut names a module that leads no group here, or a channel that it does not have."""
    widths = {group.name: group.width for group in groups}
    for name, gone in cuts:
        if name not in widths:
            raise _unfit(f"the plan prunes {name!r}, whose channels this network cannot lose")
        if gone and max(gone) >= widths[name]:
            raise _unfit(f"the plan removes channel {max(gone)} of {name!r}, which has {widths[name]}")
        if len(gone) >= widths[name]:
            raise _unfit(f"the plan removes all {widths[name]} channels of {name!r}")


def modules_of(graph: fx.GraphModule, layer: Layer) -> set[str]:
    """The modules that are called inside a layer."""
    inside = set(layer.nodes)
    return {str(node.target) for node in graph.graph.nodes if node.op == "call_module" and node.name in inside}


def is_made_inside(graph: fx.GraphModule, layer: Layer, group: ChannelGroup) -> bool:
    """Whether all that makes a group's channels goes with the layer."""
    modules = modules_of(graph, layer)
    return all(member.name in modules for member in group.members if member.side == "out")


def joins_groups(graph: fx.GraphModule, layer: Layer, groups: Sequence[ChannelGroup]) -> bool:
    """Whether a layer's output is a group of channels of its own, which its removal joins with its input's."""
    modules = modules_of(graph, layer)
    return any(
        is_made_inside(graph, layer, group)
        and any(member.name not in modules for member in group.members if member.side == "in")
        for group in groups
    )


def prune_(graph: nn.Module, groups: Sequence[ChannelGroup], cuts: Sequence[Cut]) -> None:
    """Take the channels out of the modules; all numbers count the channels that were there before the first cut."""
    gone_of = {name: frozenset(gone) for name, gone in cuts}
    gone_from: dict[tuple[str, str, int], set[int]] = {}
    for group in groups:
        gone = gone_of.get(group.name, frozenset())
        for member in group.members if gone else ():
            channels = gone_from.setdefault((member.name, member.side, member.dim), set())
            pairs = zip(member.channels, member.of_group, strict=True)
            channels.update(channel for channel, leader in pairs if leader in gone)
    with torch.no_grad():
        for (name, side, dim), channels in gone_from.items():
            if side == "parameter":
                _cut_parameter_(graph, name, dim, channels)
            else:
                module = graph.get_submodule(name)
                pruner = torch_pruning.pruner.function.PrunerBox[torch_pruning.ops.module2type(module)]
                cut = pruner.prune_out_channels if side == "out" else pruner.prune_in_channels
                cut(module, sorted(channels))


def _cut_parameter_(graph: nn.Module, name: str, dim: int, gone: set[int]) -> None:
    owner_name, _, own = name.rpartition(".")
    parameter = graph.get_parameter(name)
    kept = torch.tensor([index for index in range(parameter.shape[dim]) if index not in gone], device=parameter.device)
    setattr(graph.get_submodule(owner_name), own, nn.Parameter(parameter.index_select(dim, kept)))


class _Bounded(list[Any]):
    """The index mappings of one dependency, which raise ValueError where following them would not come to an end.

    Torch-pruning takes the second dimension of an image for its channels. Where they are the last one, it loses track
    at reshapes and follows ever longer lists of channels.
    """

    def __init__(self, mappings: Sequence[Any], steps: Iterator[int], widest: int) -> None:
        super().__init__(mappings)
        self._steps, self._widest = steps, widest

    def __iter__(self) -> Iterator[Any]:
        if next(self._steps) > _MOST_STEPS:
            raise ValueError(f"the groups of channels are not complete after {_MOST_STEPS} steps")
        return (mapping and partial(self._map, mapping) for mapping in super().__iter__())

    def _map(self, mapping: Callable[[list[Any]], list[Any]], channels: list[Any]) -> list[Any]:
        mapped = mapping(channels)
        if len(mapped) > self._widest:
            raise ValueError(f"it follows {len(mapped)} channels, the widest layer has {self._widest}")
        return mapped


def _bound_(graph: fx.GraphModule, dependencies: Any) -> None:
    steps, widest = itertools.count(1), max(max(p.shape[:2], default=0) for p in graph.parameters())
    for node in dependencies.module2node.values():
        for dependency in node.dependencies:
            dependency.index_mapping = _Bounded(dependency.index_mapping, steps, widest)


def _describe(dependencies: Any, group: Any, names: dict[object, str]) -> ChannelGroup | None:
    root = group[0].dep.target.module
    width = int(dependencies.get_out_channels(root))
    parts, members = 1, []
    for item in group:
        module, handler = item.dep.target.module, item.dep.handler
        if module not in names:
            continue  # an operation without weights
        channels, of_group = tuple(item.idxs), tuple(item.root_idxs)
        if isinstance(module, nn.Parameter):
            dim = int(item.dep.target.pruning_dim)
            members.append(Member(names[module], "parameter", channels, of_group, dim))
        else:
            side: Literal["in", "out"] = "out" if dependencies.is_out_channel_pruning_fn(handler) else "in"
            members.append(Member(names[module], side, channels, of_group))
            parts = math.lcm(parts, _parts(dependencies.get_pruner_of_module(module), module, side))
    if width % parts or any(len(member.channels) % parts for member in members):
        return None
    return ChannelGroup(names[root], width, parts, tuple(members))


def _parts(pruner: Any, module: nn.Module, side: str) -> int:
    if isinstance(module, nn.modules.conv._ConvNd) and module.groups == module.out_channels:
        return 1
    count = pruner.get_out_channel_groups(module) if side == "out" else pruner.get_in_channel_groups(module)
    return max(1, int(count))


@contextmanager
def _answering() -> Iterator[None]:
    """Turn what torch-pruning raises on networks it does not know into BadInput, and keep its remarks to itself."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"torch_pruning(\.|$)")
            yield
    except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError, AttributeError, AssertionError) as error:
        raise cannot_prune(f"torch-pruning cannot follow it ({type(error).__name__}: {error})") from error


def cannot_prune(why: str) -> BadInput:
    """The error for a network whose channels cannot go; its layers still may."""
    return BadInput(
        f"filters of this network cannot be pruned: {why}",
        field="pruning.methods",
        value="filter",
        remedy="Ask for the method 'layer' alone.",
    )


def _unfit(message: str) -> BadInput:
    return BadInput(
        message,
        field="plan.prune",
        remedy="Apply the plan to the network it was made for, traced at the same input size.",
    )
