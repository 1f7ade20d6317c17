"""Regions of a graph with one entry and one exit that can be replaced by their entry.

Along the flow from input to output, the nodes that every path passes cut the network into segments. A segment whose
paths part and meet again (a residual block) or a single weighted operation (a convolution) is a region when it,
together with what follows it and belongs to it, leads back to its entry's shape. The branches of a segment are searched
the same way.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import fx

from . import operations
from .dominance import Flow


@dataclass(frozen=True, eq=False)
class Region:
    """Everything after ``entry`` up to ``exit`` (``inside``); ``widens`` if only the number of channels differs."""

    entry: fx.Node
    exit: fx.Node
    inside: tuple[fx.Node, ...]
    kind: str
    depth: int
    parent: Region | None
    widens: bool


def find_regions(flow: Flow, *, width_changing: bool) -> list[Region]:
    """Every region, in forward order, an outer one before those inside it."""
    trunk = flow.chain(flow.input)
    found = _Search(flow, width_changing).regions(trunk[0], trunk[1:-1], set(flow.order), depth=0, parent=None)
    return sorted(found, key=lambda region: (flow.position[region.entry], -flow.position[region.exit]))


class _Search:
    def __init__(self, flow: Flow, width_changing: bool) -> None:
        self.flow, self.width_changing = flow, width_changing
        self.last_weighted = max(
            (index for index, node in enumerate(flow.order) if operations.is_weighted(node)), default=-1
        )

    def regions(
        self, entry: fx.Node, trunk: Sequence[fx.Node], within: set[fx.Node], *, depth: int, parent: Region | None
    ) -> list[Region]:
        """Regions along the cut nodes ``trunk`` after ``entry``, in the branches between them and, if paths part at
        their end (streams that run side by side), in these as far as they lie ``within``."""
        stops = [entry, *trunk]
        found: list[Region] = []
        at = 0
        while at + 1 < len(stops):
            inside = self.flow.between(stops[at], stops[at + 1])
            start = at - 1 if at and not operations.is_tensor(stops[at]) else at  # a split belongs to what it feeds
            end, widens, region = None, False, None
            if any(map(operations.is_weighted, inside)):
                end = self._end(stops, start, at + 1, inside)
                if end is None and self.width_changing and depth == 0 and len(inside) == 1:
                    end = self._end(stops, start, at + 1, inside, widens=True)
                    widens = end is not None
            if end is not None:
                merge = stops[at + 1]
                kind = operations.bare_kind(merge) if len(inside) == 1 else operations.block_kind(inside, merge)
                around = (*stops[start + 1 : at + 1], *inside, *stops[at + 2 : end + 1])
                region = Region(stops[start], stops[end], around, kind, depth, parent, widens)
                found.append(region)
            if len(inside) > 1:
                branches = set(inside) - {stops[at + 1]}
                for branch_entry, branch in self._branches(stops[at], branches):
                    found += self.regions(branch_entry, branch, branches, depth=depth + 1, parent=region or parent)
            at = end or at + 1
        for branch_entry, branch in self._branches(stops[-1], within) if depth else ():
            found += self.regions(branch_entry, branch, within, depth=depth, parent=parent)
        return found

    def _branches(self, entry: fx.Node, within: set[fx.Node]) -> Iterator[tuple[fx.Node, list[fx.Node]]]:
        firsts = [node for node in self.flow.children[entry] if node in within]
        taken: set[fx.Node] = set()
        for first in reversed(firsts):  # paths that meet before the others do
            closed = set() if self.flow.sources[first] == [entry] else set(self.flow.between(entry, first))
            if first not in taken and closed and self._leaves_by(first, closed):
                taken |= closed
                yield entry, self.flow.chain(first)
        for first in firsts:
            if first not in taken:
                chain = self.flow.chain(first)
                follows_entry_alone = self.flow.sources[first] == [entry]
                yield (entry, chain) if follows_entry_alone else (first, chain[1:])

    def _leaves_by(self, exit_: fx.Node, inside: set[fx.Node]) -> bool:
        return all(user in inside for node in inside if node is not exit_ for user in self.flow.users[node])

    def _end(
        self, stops: Sequence[fx.Node], start: int, at: int, inside: Sequence[fx.Node], *, widens: bool = False
    ) -> int | None:
        """The index in ``stops`` of the exit of the region around ``stops[at]``; None if it is none."""
        entry, core = stops[start], stops[at]
        bare = len(inside) == 1
        if bare and self.flow.position[core] == self.last_weighted:
            return None  # it computes the network's answer
        same = operations.same_but_channels if widens else operations.same_shape
        owner = operations.container(core) if bare else common([operations.container(node) for node in inside])
        end = at if same(entry, core) else None
        allowed_norms = 1 if bare else 0  # a norm after a sum belongs to what follows (pre-norm networks)
        for index in range(at + 1, len(stops)):
            node = stops[index]
            if (
                len(self.flow.between(stops[index - 1], node)) > 1
                or common([owner, operations.container(node)]) != owner
            ):
                break
            if allowed_norms and operations.is_norm(node) and not operations.is_weighted(node):
                allowed_norms = 0
            elif not operations.is_elementwise(node) and (bare or not operations.is_moving(node)):
                break
            else:
                allowed_norms = 0
            if same(entry, node):
                end = index
        return end


def common(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The longest path that all start with."""
    return tuple(os.path.commonprefix(list(paths)))
