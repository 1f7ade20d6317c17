"""Find the layers that can go: regions with one entry and one exit of the same shape that contain weights.

Along the flow from input to output, the nodes that every path passes cut the network into segments. A segment whose
paths part and meet again (a residual block) or a single weighted operation (a convolution) is a layer when it, together
with what follows it and belongs to it, leads back to its entry's shape. The branches of a segment are searched the same
way.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import fx

from . import operations
from .dominance import Flow

DEFAULT_KINDS = frozenset({"residual_block", "block", "attention", "mlp", "conv"})
"""What people would call a layer; squeeze-excite units, depthwise convolutions and linear layers are finer."""


@dataclass(frozen=True)
class Layer:
    """A removable layer: everything after node ``entry`` up to node ``exit``, replaced by ``entry`` when it goes.

    ``nodes`` are the graph's nodes that go with it, ``params`` and ``macs`` (at batch 1) what is saved. ``default`` is
    false for layers inside others (``depth`` > 0, within ``parent`` where that is a layer too) and for the finer kinds.
    """

    name: str
    kind: str
    entry: str
    exit: str
    nodes: tuple[str, ...]
    params: int
    macs: int
    depth: int
    default: bool
    parent: str | None


def find_layers(graph: fx.GraphModule) -> list[Layer]:
    """Every removable layer of a graph from ``trace``, in forward order, an outer layer before those inside it."""
    flow = Flow(graph.graph)
    trunk = flow.chain(flow.input)
    regions = _Search(flow).regions(trunk[0], trunk[1:-1], depth=0, parent=None)
    regions.sort(key=lambda region: (flow.position[region.entry], -flow.position[region.exit]))
    weighted = [node for node in flow.order if operations.is_weighted(node)]
    names: dict[_Region, str] = {}
    found: list[Layer] = []
    for region in regions:
        nodes = _with_helpers(graph.graph, flow, region)
        if nodes is None:
            continue
        name = _unique(_name(region, weighted), set(names.values()))
        names[region] = name
        found.append(
            Layer(
                name=name,
                kind=region.kind,
                entry=region.entry.name,
                exit=region.exit.name,
                nodes=tuple(node.name for node in nodes),
                params=operations.owned_params(graph.graph, nodes),
                macs=sum(node.meta["macs"] for node in nodes),
                depth=region.depth,
                default=region.depth == 0 and region.kind in DEFAULT_KINDS,
                parent=names.get(region.parent) if region.parent else None,
            )
        )
    return found


@dataclass(frozen=True, eq=False)
class _Region:
    entry: fx.Node
    exit: fx.Node
    inside: tuple[fx.Node, ...]
    kind: str
    depth: int
    parent: _Region | None


class _Search:
    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.last_weighted = max(
            (index for index, node in enumerate(flow.order) if operations.is_weighted(node)), default=-1
        )

    def regions(self, entry: fx.Node, trunk: Sequence[fx.Node], *, depth: int, parent: _Region | None) -> list[_Region]:
        """Layers along the cut nodes ``trunk`` after ``entry``, and those in the branches between them."""
        stops = [entry, *trunk]
        found: list[_Region] = []
        at = 0
        while at + 1 < len(stops):
            inside = self.flow.between(stops[at], stops[at + 1])
            start = at - 1 if at and not operations.is_tensor(stops[at]) else at  # a split belongs to what it feeds
            end = None
            region = None
            if any(map(operations.is_weighted, inside)):
                end = self._end(stops, start, at + 1, inside)
            if end is not None:
                merge = stops[at + 1]
                kind = operations.bare_kind(merge) if len(inside) == 1 else operations.block_kind(inside, merge)
                around = (*stops[start + 1 : at + 1], *inside, *stops[at + 2 : end + 1])
                region = _Region(stops[start], stops[end], around, kind, depth, parent)
                found.append(region)
            if len(inside) > 1:
                for branch_entry, branch in self._branches(stops[at], stops[at + 1], inside):
                    found += self.regions(branch_entry, branch, depth=depth + 1, parent=region or parent)
            at = end or at + 1
        return found

    def _branches(
        self, entry: fx.Node, merge: fx.Node, inside: Sequence[fx.Node]
    ) -> Iterator[tuple[fx.Node, list[fx.Node]]]:
        for first in self.flow.children[entry]:
            if first is not merge and first in inside:
                chain = self.flow.chain(first)
                follows_entry_alone = self.flow.sources[first] == [entry]
                yield (entry, chain) if follows_entry_alone else (first, chain[1:])

    def _end(self, stops: Sequence[fx.Node], start: int, at: int, inside: Sequence[fx.Node]) -> int | None:
        """The index in ``stops`` of the exit of the layer around ``stops[at]``; None if it is no layer."""
        entry, core = stops[start], stops[at]
        bare = len(inside) == 1
        if bare and self.flow.position[core] == self.last_weighted:
            return None  # it computes the network's answer
        owner = operations.container(core) if bare else _common([operations.container(node) for node in inside])
        end = at if operations.same_shape(entry, core) else None
        allowed_norms = 1 if bare else 0  # a norm after a sum belongs to what follows (pre-norm networks)
        for index in range(at + 1, len(stops)):
            node = stops[index]
            if (
                len(self.flow.between(stops[index - 1], node)) > 1
                or _common([owner, operations.container(node)]) != owner
            ):
                break
            if allowed_norms and operations.is_norm(node) and not operations.is_weighted(node):
                allowed_norms = 0
            elif not operations.is_elementwise(node) and (bare or not operations.is_moving(node)):
                break
            else:
                allowed_norms = 0
            if operations.same_shape(entry, node):
                end = index
        return end


def _with_helpers(graph: fx.Graph, flow: Flow, region: _Region) -> list[fx.Node] | None:
    """The region's nodes and the sizes, assertions and constants that serve it alone, in forward order.

    None if a size that is taken inside is used outside: then the region cannot go.
    """
    gone = set(region.inside)
    for node in graph.nodes:
        inner = any(source in gone and source is not region.exit for source in node.all_input_nodes)
        if inner and node not in gone:
            if node in flow.position:
                return None
            gone.add(node)
    for node in reversed(graph.nodes):
        serves_only = node.users and all(user in gone for user in node.users)
        if serves_only and node not in flow.position:
            gone.add(node)
    return [node for node in graph.nodes if node in gone]


def _name(region: _Region, weighted: Sequence[fx.Node]) -> str:
    """The module that the region is all of; else the module in it that weighs most."""
    mine = [node for node in region.inside if operations.is_weighted(node)]
    heaviest = max(mine, key=lambda node: int(node.meta["macs"]))
    if len(mine) == 1 and heaviest.op == "call_module" and region.kind in ("conv", "depthwise_conv", "linear", "other"):
        return ".".join(operations.path(heaviest))
    owner = _common([operations.container(node) for node in region.inside])
    others = [node for node in weighted if node not in mine]
    if owner and not any(operations.path(node)[: len(owner)] == owner for node in others):
        return ".".join(owner)
    return ".".join(operations.path(heaviest)[: len(owner) + 1])


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}#{number}"
    return candidate


def _common(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(os.path.commonprefix(list(paths)))
