"""Pruning in steps with training in between: the iterative schedule.

A plan fixes which layers go and how many channels each group keeps. Step k of n brings every width k/n of the way and
takes k/n of the layers out, the least important first; which channels go is decided anew before every step, by scores
of the network as it is then. After the last step the network has the plan's architecture.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Mapping, Sequence

from torch import Tensor, fx

from layerprune.api.errors import BadInput
from layerprune.planning.filters import group_scores
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.channels import ChannelGroup, check_cuts, find_groups, joins_groups, prune_
from layerprune.structure.layers import Layer, find_layers
from layerprune.structure.plan import Plan
from layerprune.structure.surgery import remove_layers_, without_layers
from layerprune.structure.trace import propagate

Rescore = Callable[[fx.GraphModule], Mapping[str, Tensor]]
"""Gives the filter scores of a graph: by module one importance per output channel (C_out)."""


def apply_in_steps(
    graph: fx.GraphModule,
    plan: Plan,
    example: Tensor,
    *,
    steps: int,
    rescore: Rescore | None = None,
    layer_importance: Mapping[str, float] | None = None,
) -> Generator[fx.GraphModule, None, Plan]:
    """Apply ``plan`` to ``graph`` in place, in ``steps`` steps; after each the graph is yielded, to be trained.

    The generator returns the plan as it came out, with channel numbers of the base, which replays in one go::

        stages = apply_in_steps(graph, plan, example, steps=3, rescore=scores_of)
        while True:
            try:
                train(next(stages))
            except StopIteration as end:
                actual = end.value
                break

    or, inside a generator, ``actual = yield from apply_in_steps(...)``. Between two steps only values may change, not
    the structure. Without ``rescore`` exactly the plan's own channels go, a share in each step. Layers go in rising
    ``layer_importance``, or in the plan's order. A layer between two separate groups of channels (of a plain network)
    goes in the first step, because what is around it has to stay equally wide. Raises BadInput for a plan of another
    architecture, like apply_plan_.
    """
    if architecture_hash(graph) != plan.base_architecture:
        raise BadInput(
            f"the plan is for architecture {plan.base_architecture[:12]}, the network is another",
            field="plan",
            remedy="Apply the plan to the network it was made for, traced at the same input size.",
        )
    known = {layer.name: layer for layer in find_layers(graph, width_changing=True)}
    unknown = [name for name in plan.remove if name not in known]
    if unknown:
        raise BadInput(f"the plan removes layer {unknown[0]!r}, which this network does not have", field="plan.remove")
    waiting = [known[name] for name in plan.remove]
    if layer_importance is not None:
        waiting.sort(key=lambda layer: layer_importance.get(layer.name, math.inf))
    seed = int(plan.hash[:8], 16)
    final = find_groups(without_layers(graph, waiting, seed=seed), example) if plan.prune else ()
    check_cuts(final, plan.prune)
    gone_of = {name: gone for name, gone in plan.prune if gone}
    targets = [group for group in final if group.name in gone_of]
    left = {group.name: list(range(group.width)) for group in targets}
    groups = find_groups(graph, example) if targets else ()
    early = [layer for layer in waiting if layer.rebuilds or joins_groups(graph, layer, groups)]
    queue, done = early + [layer for layer in waiting if layer not in early], 0
    for step in range(1, steps + 1):
        upto = max(len(early), math.ceil(len(queue) * step / steps))
        going, done = queue[done:upto], upto
        remove_layers_(graph, [_as_it_is_now(graph, layer) for layer in going], seed=seed)
        if targets:
            present = find_groups(graph, example)
            scores = rescore(graph) if rescore is not None else {}
            cuts = [
                _cut(group, present, scores, left[group.name], gone_of[group.name], share=step / steps)
                for group in targets
            ]
            prune_(graph, present, cuts)
        graph.graph.lint()
        graph.recompile()
        propagate(graph, example)
        yield graph
    actual = tuple(
        (group.name, tuple(sorted(set(range(group.width)) - set(left[group.name]))))
        for group in final
        if group.name in left
    )
    return dataclasses.replace(plan, prune=actual)


def _as_it_is_now(graph: fx.GraphModule, layer: Layer) -> Layer:
    """The layer with the entry that it has after others went; its exit keeps its name as long as it is there."""
    same = [now for now in find_layers(graph, width_changing=True) if now.exit == layer.exit]
    return min(same, key=lambda now: abs(len(now.nodes) - len(layer.nodes)))


def _cut(
    target: ChannelGroup,
    present: Sequence[ChannelGroup],
    scores: Mapping[str, Tensor],
    left: list[int],
    planned: Sequence[int],
    *,
    share: float,
) -> tuple[str, tuple[int, ...]]:
    """Take a group's channels down to its share, in ``left`` too; gives the cut in the present network's numbers.

    ``left`` are the channels of the base that the group's leading module still has, in order.
    """
    group = next(one for one in present if any(m.side == "out" and m.name == target.name for m in one.members))
    places, width = group.width // group.parts, len(left)
    gone_by_now = len(planned) // target.parts * share
    going = math.ceil(gone_by_now - 1e-9) - (target.width - width) // target.parts
    importance = group_scores(group, scores)
    if importance is None:  # the plan's own, in its order
        size = target.width // target.parts
        own = [channel for channel in planned if channel in left and channel < size]
        chosen = [left.index(channel) for channel in own[:going]]
    else:
        chosen = importance.argsort(stable=True).tolist()[:going]
    gone = sorted(part * places + place for part in range(group.parts) for place in chosen)
    for channel in reversed(gone):
        del left[channel]
    return group.name, tuple(gone)
