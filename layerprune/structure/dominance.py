"""The flow of tensors through a traced graph, and which nodes every path must pass.

Nodes that carry no tensor (sizes, arithmetic on them, assertions) are no part of the flow: a size that is taken early
and used late must not look like a second path around everything between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import fx


class Flow:
    """Tensor nodes between the network's input and its output, with dominators and post-dominators."""

    def __init__(self, graph: fx.Graph) -> None:
        inputs = [node for node in graph.nodes if node.op == "placeholder"]
        output = next(node for node in graph.nodes if node.op == "output")
        forward = _reach(inputs[:1], lambda node: [user for user in node.users if _carries(user)])
        backward = _reach([output], lambda node: [source for source in node.all_input_nodes if _carries(source)])
        self.order: list[fx.Node] = [node for node in graph.nodes if node in forward and node in backward]
        self.position = {node: index for index, node in enumerate(self.order)}
        self.input, self.output = inputs[0], output
        self.sources = {node: [n for n in node.all_input_nodes if n in self.position] for node in self.order}
        self.users = {node: [n for n in node.users if n in self.position] for node in self.order}
        self._above = _immediate_dominators(self.order, self.sources)
        self._below = _immediate_dominators(self.order[::-1], self.users)
        self.children: dict[fx.Node, list[fx.Node]] = {node: [] for node in self.order}
        for node in self.order[1:]:
            self.children[self._above[node]].append(node)

    def dominates(self, first: fx.Node, second: fx.Node) -> bool:
        """Whether every path from the input to ``second`` passes ``first``."""
        while self.position[second] > self.position[first]:
            second = self._above[second]
        return second is first

    def chain(self, first: fx.Node) -> list[fx.Node]:
        """``first`` and the nodes after it that every path onwards passes and that nothing enters but through it."""
        chain = [first]
        while chain[-1] is not self.output:
            following = self._below[chain[-1]]
            if not self.dominates(first, following):
                break
            chain.append(following)
        return chain

    def between(self, entry: fx.Node, exit_: fx.Node) -> list[fx.Node]:
        """Nodes on the paths from ``entry`` (left out) to ``exit_`` (included), in forward order."""
        low, high = self.position[entry], self.position[exit_]
        inside = {exit_}
        for node in self.order[high:low:-1]:
            if node in inside:
                inside.update(source for source in self.sources[node] if self.position[source] > low)
        return [node for node in self.order[low + 1 : high + 1] if node in inside]


def _carries(node: fx.Node) -> bool:
    return node.op == "output" or "tensor_meta" in node.meta


def _reach(starts: Iterable[fx.Node], following: Callable[[fx.Node], Sequence[fx.Node]]) -> set[fx.Node]:
    seen: set[fx.Node] = set()
    waiting = list(starts)
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(following(node))
    return seen


def _immediate_dominators(
    order: Sequence[fx.Node], sources: Mapping[fx.Node, Sequence[fx.Node]]
) -> dict[fx.Node, fx.Node]:
    """Of each node but the first, the nearest node that every path to it passes.

    One pass is enough without loops (Cooper, Harvey, Kennedy: "A Simple, Fast Dominance Algorithm", 2001).
    """
    position = {node: index for index, node in enumerate(order)}
    above: dict[fx.Node, fx.Node] = {}
    for node in order[1:]:
        nearest = sources[node][0]
        for other in sources[node][1:]:
            while nearest is not other:
                if position[nearest] > position[other]:
                    nearest = above[nearest]
                else:
                    other = above[other]
        above[node] = nearest
    return above
