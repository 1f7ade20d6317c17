"""Find the layers that can go: regions with one entry and one exit of the same shape that contain weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import fx

from layerprune.api.pruning import LayerOptions

from . import operations
from .dominance import Flow
from .regions import Region, common, find_regions
from .width import rebuilt_after

_BLOCKS = frozenset({"residual_block", "attention", "mlp"})
_DEFAULT_KINDS = _BLOCKS | {"block", "conv"}
"""What people would call a layer; squeeze-excite units, depthwise convolutions and linear layers are finer."""
_BARE_KINDS = frozenset({"conv", "depthwise_conv", "linear", "attention", "other"})


@dataclass(frozen=True)
class Layer:
    """A removable layer: everything after node ``entry`` up to node ``exit``, replaced by ``entry`` when it goes.

    ``nodes`` are the graph's nodes that go with it, ``params`` and ``macs`` (at batch 1) what is saved. ``default`` is
    false for layers inside others that can go (``parent``), for convolutions inside any block (``depth`` > 0), and for
    the finer kinds. ``rebuilds`` names the module that gets a new, untrained input because the layer changes the
    width; it is None for every other layer.
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
    rebuilds: str | None = None


def find_layers(graph: fx.GraphModule, *, width_changing: bool = False) -> list[Layer]:
    """Every removable layer of a graph from ``trace``, in forward order, an outer layer before those inside it.

    With ``width_changing`` also the convolutions on the trunk that change only the number of channels, where what
    follows can be given a new input width (paper, section 4.1).
    """
    flow = Flow(graph.graph)
    place = {node: number for number, node in enumerate(graph.graph.nodes)}
    regions = find_regions(flow, width_changing=width_changing)
    whole = {region: nodes for region in regions if (nodes := _with_what_serves_it(flow, region)) is not None}
    rebuilt = rebuilt_after(flow, list(whole))
    regions = [region for region in whole if region in rebuilt or not region.widens]
    default = _default(regions)
    paths = {node: operations.path(node) for node in flow.order}
    users = _users_of_parameters(graph.graph)
    names: dict[Region, str] = {}
    found: list[Layer] = []
    for region in regions:
        nodes = whole[region]
        names[region] = _unique(_name(region, paths), set(names.values()))
        follower = rebuilt.get(region)
        spared = follower.spared(region) if follower else (0, 0)
        found.append(
            Layer(
                name=names[region],
                kind=region.kind,
                entry=region.entry.name,
                exit=region.exit.name,
                nodes=tuple(node.name for node in sorted(nodes, key=lambda node: place[node])),
                params=sum(size for size, used_by in users.values() if used_by <= nodes) + spared[0],
                macs=sum(node.meta["macs"] for node in nodes) + spared[1],
                depth=region.depth,
                default=region in default,
                parent=names.get(region.parent) if region.parent else None,
                rebuilds=str(follower.node.target) if follower else None,
            )
        )
    return found


def candidates_of(layers: Sequence[Layer], options: LayerOptions) -> list[Layer]:
    """The layers that a job with these options may remove; ``layers`` come from ``find_layers`` with its option."""
    return [
        layer
        for layer in layers
        if layer.default
        or (options.finer_kinds and layer.rebuilds is None)
        or (options.width_changing and layer.rebuilds is not None)
    ]


def _default(regions: Sequence[Region]) -> set[Region]:
    """The regions that people would call a layer, none inside another.

    Inside a block that cannot go, or that only joins branches, whole blocks count but not their single convolutions.
    """
    inner = [region for region in regions if region.kind in _BLOCKS and not _is_depthwise(region)]
    joined = {ancestor for region in inner for ancestor in _ancestors(region) if ancestor.kind == "block"}
    chosen: set[Region] = set()
    for region in regions:
        wanted = region.kind in _BLOCKS and not _is_depthwise(region) if region.depth else region.kind in _DEFAULT_KINDS
        if wanted and not region.widens and region not in joined and not chosen & set(_ancestors(region)):
            chosen.add(region)
    return chosen


def _ancestors(region: Region) -> list[Region]:
    above = []
    while region.parent is not None:
        region = region.parent
        above.append(region)
    return above


def _is_depthwise(region: Region) -> bool:
    return {operations.bare_kind(node) for node in region.inside if operations.is_weighted(node)} == {"depthwise_conv"}


def _with_what_serves_it(flow: Flow, region: Region) -> frozenset[fx.Node] | None:
    """The region's nodes and the sizes, assertions and constants that serve it alone.

    None if something that is computed inside is used outside: then the region cannot go.
    """
    gone = set(region.inside)
    waiting = [node for node in region.inside if node is not region.exit]
    while waiting:
        for user in waiting.pop().users:
            if user not in gone:
                if user in flow.position:
                    return None
                gone.add(user)
                waiting.append(user)
    waiting = list(gone)
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in gone and source not in flow.position and all(user in gone for user in source.users):
                gone.add(source)
                waiting.append(source)
    return frozenset(gone)


def _users_of_parameters(graph: fx.Graph) -> Mapping[int, tuple[int, set[fx.Node]]]:
    """Of each parameter, by its identity: its elements and the nodes that use it."""
    users: dict[int, tuple[int, set[fx.Node]]] = {}
    for node in graph.nodes:
        for parameter in operations.parameters(node):
            users.setdefault(id(parameter), (parameter.numel(), set()))[1].add(node)
    return users


def _name(region: Region, paths: Mapping[fx.Node, tuple[str, ...]]) -> str:
    """The module that the region is all of; else the widest module in it, around what weighs most."""
    mine = [node for node in region.inside if operations.is_weighted(node)]
    heaviest = max(mine, key=lambda node: int(node.meta["macs"]))
    path = paths[heaviest]
    if len(mine) == 1 and heaviest.op == "call_module" and region.kind in _BARE_KINDS:
        return ".".join(path)
    inside = set(region.inside)
    length = max(1, len(common([operations.container(node) for node in region.inside])))
    others = [other for node, other in paths.items() if node not in inside]
    while length < len(path) and any(other[:length] == path[:length] for other in others):
        length += 1
    return ".".join(path[:length])


def _unique(name: str, taken: Collection[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}#{number}"
    return candidate
