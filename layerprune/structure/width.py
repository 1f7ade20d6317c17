"""Layers that change the width: which can go, and what follows them then.

Elkerdawy et al., "To Filter Prune, or to Layer Prune" (ACCV 2020), section 4.1: without such a convolution the next
weighted layer is replaced by a new one with the width that arrives now, and pooling is folded so that the size stays.
"""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import fx, nn

from . import operations
from .dominance import Flow
from .regions import Region

_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Follower:
    """The weighted node after a layer, whose input follows the layer's width, and the weightless ones on the way."""

    node: fx.Node
    way: tuple[fx.Node, ...]

    def spared(self, region: Region) -> tuple[int, int]:
        """Parameters and multiplications that the follower has less when ``region`` goes; negative where it grows."""
        before, after = (int(node.meta["tensor_meta"].shape[1]) for node in (region.exit, region.entry))
        weights = int(operations.parameters(self.node)[0].numel())
        return weights * (before - after) // before, int(self.node.meta["macs"]) * (before - after) // before


def rebuilt_after(flow: Flow, regions: Sequence[Region]) -> dict[Region, Follower]:
    """Of each width-changing region that can go, what gets a new input then.

    Whatever else can go after it has to leave the new width to something that can be rebuilt as well.
    """
    on_trunk = {node: region for region in regions if region.depth == 0 for node in region.inside}
    found: dict[Region, Follower] = {}
    for region in reversed(regions):
        follower = _follower(region.exit) if region.widens else None
        if follower is not None:
            after, last = on_trunk.get(follower.node), follower
            while after is not None and (following := _follower(after.exit)) is not None:
                after, last = on_trunk.get(following.node), following
            if after is None and last.node in flow.position:
                found[region] = follower
    return found


def refit_(graph: fx.GraphModule, entries: Sequence[fx.Node], *, seed: int) -> None:
    """Rebuild what follows each of ``entries``, the places where width-changing layers were, with a fresh weight."""
    pairs: dict[tuple[fx.Node, fx.Node], None] = {}
    for entry in entries:
        follower = _follower(entry)
        if follower is None:
            raise ValueError(f"nothing after {entry.name} can take another width")
        way = (entry, *follower.way)
        _rebuild_(graph, follower.node, _arriving(way), seed)
        pairs.update(dict.fromkeys(zip(way, way[1:], strict=False)))
    for first, second in pairs:
        _fold_(graph, first, second)


def _follower(exit_: fx.Node) -> Follower | None:
    way: list[fx.Node] = []
    node = exit_
    while True:
        users = [user for user in node.users if "tensor_meta" in user.meta]
        if len(users) != 1:
            return None
        node = users[0]
        if operations.is_weighted(node):
            return Follower(node, tuple(way)) if _can_be_rebuilt(node) else None
        if operations.parameters(node) or not _keeps_channels(node):
            return None
        way.append(node)


def _can_be_rebuilt(node: fx.Node) -> bool:
    module = operations.module_of(node)
    once = sum(other.op == "call_module" and other.target == node.target for other in node.graph.nodes) == 1
    return once and (isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1))


def _keeps_channels(node: fx.Node) -> bool:
    word = operations.label(node)
    return operations.is_elementwise(node) or word in ("flatten", "mean") or word.endswith(("pool", "pool2d"))


def _arriving(way: Sequence[fx.Node]) -> int:
    """Channels, or features after a flattening, at the end of ``way``; the shapes noted along it may be outdated."""
    source = way[0]
    while not operations.is_weighted(source) and not operations.parameters(source) and source.op != "placeholder":
        if len(source.all_input_nodes) != 1 or not _keeps_channels(source):
            break
        source = source.all_input_nodes[0]
    width = int(source.meta["tensor_meta"].shape[1])
    positions = 1
    for node in way:
        shape = node.meta["tensor_meta"].shape
        if len(shape) > 2:
            positions = math.prod(shape[2:])
        elif operations.label(node) == "mean":
            positions = 1
    return width if len(way[-1].meta["tensor_meta"].shape) > 2 else width * positions


def _rebuild_(graph: fx.GraphModule, node: fx.Node, width: int, seed: int) -> None:
    module = graph.get_submodule(str(node.target))
    fresh = copy.copy(module)
    fresh._parameters = dict(module._parameters)
    field = "in_features" if isinstance(module, nn.Linear) else "in_channels"
    before = int(getattr(module, field))
    weight = module.get_parameter("weight")
    setattr(fresh, field, width)
    fresh.weight = nn.Parameter(torch.empty(weight.shape[0], width, *weight.shape[2:], dtype=weight.dtype))
    if module._parameters.get("bias") is not None:
        fresh.bias = nn.Parameter(torch.empty(weight.shape[0], dtype=weight.dtype))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + zlib.crc32(str(node.target).encode()))
        fresh.reset_parameters()  # type: ignore[operator]
    graph.set_submodule(str(node.target), fresh.to(weight.device))
    node.meta["macs"] = int(node.meta["macs"]) * width // before


def _fold_(graph: fx.GraphModule, first: fx.Node, second: fx.Node) -> None:
    """Make one pooling of two in a row: the same windows, the same numbers, one pass."""
    one, other = operations.module_of(first), operations.module_of(second)
    if isinstance(one, _POOLS) and type(one) is type(other) and _tiles(one) and _tiles(other):
        (high, wide), (higher, wider) = _pair(one.kernel_size), _pair(other.kernel_size)
        sides = (high * higher, wide * wider)
        second.target = _free_name(graph, f"{first.target}_{str(second.target).rpartition('.')[2]}")
        graph.add_submodule(second.target, type(one)(sides, sides))
        second.replace_input_with(first, first.all_input_nodes[0])
        if not first.users:
            graph.graph.erase_node(first)


def _free_name(graph: fx.GraphModule, wanted: str) -> str:
    """``wanted``, or with a number behind it a module path that is free."""
    taken = {name for name, _ in graph.named_modules()}
    return next(name for name in (wanted, *(f"{wanted}_{n}" for n in range(len(taken)))) if name not in taken)


def _tiles(pool: nn.Module) -> bool:
    """Whether the windows lie side by side and none is cut off or filled up."""
    kernel, stride = _pair(pool.kernel_size), _pair(pool.stride)
    plain = _pair(pool.padding) == (0, 0) and _pair(getattr(pool, "dilation", 1)) == (1, 1) and not pool.ceil_mode
    return kernel == stride and plain and getattr(pool, "divisor_override", None) is None


def _pair(value: object) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    high, wide = cast(tuple[int, int], value)
    return high, wide
