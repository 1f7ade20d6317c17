"""Say in one sentence why the rest of a network stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torch import fx

from . import operations
from .dominance import Flow
from .layers import Layer

_JOINS = frozenset({"cat", "concat", "concatenate"})
_TEXTS = {
    "joins": ("joins new channels to its input by concatenation", "join new channels to their input by concatenation"),
    "changes": (
        "changes the number of channels or the size of its input",
        "change the number of channels or the size of their input",
    ),
    "answers": ("computes the answer", "compute the answer"),
    "is finer": (
        "keeps its shape but is, or holds, a finer unit (on request)",
        "keep their shape but are, or hold, finer units (on request)",
    ),
}


def why_the_rest_stays(graph: fx.GraphModule, layers: Sequence[Layer]) -> str:
    """How many of ``layers`` (those a job offers) can go, and what stops every other block on the way to the answer.

    "no layer can go: of the blocks on the way from input to output, 4 join new channels to their input by
    concatenation, ...".
    """
    flow = Flow(graph.graph)
    going = {name for layer in layers for name in layer.nodes}
    answer = next((node for node in reversed(flow.order) if operations.is_weighted(node)), None)
    trunk = flow.chain(flow.input)
    reasons: Counter[str] = Counter()
    for entry, exit_ in zip(trunk, trunk[1:-1], strict=False):
        inside = [node for node in flow.between(entry, exit_) if operations.is_weighted(node)]
        if inside and not any(node.name in going for node in inside):
            reasons[_reason(entry, exit_, answers=answer in inside)] += 1
    told = [f"{reasons[key]} {texts[reasons[key] > 1]}" for key, texts in _TEXTS.items() if reasons[key]]
    can_go = f"{len(layers) or 'no'} layer{'s' * (len(layers) > 1)} can go"
    return f"{can_go}: of the other blocks from input to output, {', '.join(told)}" if told else can_go


def _reason(entry: fx.Node, exit_: fx.Node, *, answers: bool) -> str:
    if answers:
        return "answers"
    if operations.same_shape(entry, exit_):
        return "is finer"
    return "joins" if operations.label(exit_) in _JOINS else "changes"
