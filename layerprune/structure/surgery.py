"""Apply a plan to a traced graph: take layers out of the graph and channels out of its modules."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Sequence

from torch import Tensor, fx

from layerprune.api.errors import BadInput

from .architecture import architecture_hash, first_difference, outline
from .channels import check_cuts, find_groups, prune_
from .layers import Layer, find_layers
from .plan import Plan
from .trace import propagate
from .width import refit_


def apply_plan_(graph: fx.GraphModule, plan: Plan, example: Tensor) -> fx.GraphModule:
    """Apply ``plan`` in place and return the graph, ready to train, to export and to prune again.

    ``graph`` comes from ``trace`` with an ``example`` of the same shape. Raises BadInput that names the first
    difference if the plan was made for another architecture; the graph is then unchanged.
    """
    present = architecture_hash(graph)
    misfit = plan.outline and present != plan.base_architecture
    if misfit and (difference := first_difference(plan.outline, outline(graph))):
        raise _mismatch(f"the plan is for another network; the first difference is at {difference}")
    layers = {layer.name: layer for layer in find_layers(graph, width_changing=True)} if plan.remove else {}
    for name in plan.remove:
        if name not in layers:
            near = difflib.get_close_matches(name, layers, n=3, cutoff=0)
            raise _mismatch(
                f"the plan removes layer {name!r}, which this network does not have; it has {', '.join(near) or 'none'}"
            )
    removed, seed = [layers[name] for name in plan.remove], int(plan.hash[:8], 16)
    groups = find_groups(without_layers(graph, removed, seed=seed), example) if plan.prune else ()
    check_cuts(groups, plan.prune)
    if present != plan.base_architecture:
        raise _mismatch(
            f"the plan is for architecture {plan.base_architecture[:12]}, the network is {present[:12]}: "
            "its weights have other shapes, or its operations without weights or its input size differ"
        )
    remove_layers_(graph, removed, seed=seed)
    prune_(graph, groups, plan.prune)
    graph.graph.lint()
    graph.recompile()
    if plan.prune or any(layers[name].rebuilds for name in plan.remove):
        propagate(graph, example)  # what only loses layers keeps its shapes
    return graph


def without_layers(graph: fx.GraphModule, layers: Sequence[Layer], *, seed: int = 0) -> fx.GraphModule:
    """A graph less some layers that shares its modules with ``graph``, which stays as it is."""
    sketch = fx.GraphModule(graph, copy.deepcopy(graph.graph))
    remove_layers_(sketch, layers, seed=seed)
    return sketch


def remove_layers_(graph: fx.GraphModule, layers: Iterable[Layer], *, seed: int = 0) -> None:
    """Join each layer's users to its entry, erase its nodes and delete the modules and weights nobody uses then.

    What follows a layer that changes the width gets a new input, whose weights ``seed`` decides.
    """
    narrowed: list[fx.Node] = []
    nodes = {node.name: node for node in graph.graph.nodes}
    joined: dict[fx.Node, fx.Node] = {}
    gone: set[fx.Node] = set()
    for layer in layers:
        exit_ = nodes[layer.exit]
        if exit_ in gone:
            continue  # inside a layer that went before
        entry = nodes[layer.entry]
        entry = joined.get(entry, entry)
        exit_.replace_all_uses_with(entry)
        joined = {node: entry if target is exit_ else target for node, target in joined.items()}
        joined[exit_] = entry
        gone.update(nodes[name] for name in layer.nodes)
        narrowed += [entry] if layer.rebuilds else []
    # Dead-code elimination would keep in-place operations and assertions, and with them the whole dead layer.
    for node in reversed(graph.graph.nodes):
        if node in gone:
            graph.graph.erase_node(node)
    refit_(graph, list(dict.fromkeys(narrowed)), seed=seed)
    drop_unused_(graph)
    graph.recompile()


def drop_unused_(graph: fx.GraphModule) -> None:
    """Delete every submodule, parameter and buffer that no node of the graph uses."""
    graph.delete_all_unused_submodules()
    called = {str(node.target) for node in graph.graph.nodes if node.op == "call_module"}
    read = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    for owner_name, owner in graph.named_modules():
        if any(owner_name == name or owner_name.startswith(f"{name}.") for name in called):
            continue
        for name in [name for name, _ in owner.named_parameters(recurse=False)] + list(owner._buffers):
            if f"{owner_name}.{name}".lstrip(".") not in read:
                delattr(owner, name)


def _mismatch(message: str) -> BadInput:
    return BadInput(
        message,
        field="plan",
        remedy="Apply the plan to the network it was made for, traced at the same input size.",
    )
