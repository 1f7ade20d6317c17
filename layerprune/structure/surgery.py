"""Apply a plan to a traced graph: take layers out of the graph and channels out of its modules."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, fx

from layerprune.api.errors import BadInput

from .architecture import architecture_hash
from .channels import check_cuts, find_groups, prune_
from .layers import Layer, find_layers
from .plan import Plan
from .trace import propagate


def apply_plan_(graph: fx.GraphModule, plan: Plan, example: Tensor) -> fx.GraphModule:
    """Apply ``plan`` in place and return the graph, ready to train, to export and to prune again.

    ``graph`` comes from ``trace`` with an ``example`` of the same shape. Raises BadInput that names the first
    difference if the plan was made for another architecture; the graph is then unchanged.
    """
    layers = {layer.name: layer for layer in find_layers(graph)} if plan.remove else {}
    for name in plan.remove:
        if name not in layers:
            raise _mismatch(f"the plan removes layer {name!r}, which this network does not have")
    groups = find_groups(graph, example) if plan.prune else ()
    check_cuts(groups, plan.prune)
    present = architecture_hash(graph)
    if present != plan.base_architecture:
        raise _mismatch(f"the plan is for architecture {plan.base_architecture[:12]}, the network is {present[:12]}")
    prune_(graph, groups, plan.prune)
    remove_layers_(graph, [layers[name] for name in plan.remove])
    graph.graph.lint()
    graph.recompile()
    propagate(graph, example)
    return graph


def remove_layers_(graph: fx.GraphModule, layers: Iterable[Layer]) -> None:
    """Join each layer's users to its entry, erase its nodes and delete the modules and weights nobody uses then."""
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
    # Dead-code elimination would keep in-place operations and assertions, and with them the whole dead layer.
    for node in reversed(graph.graph.nodes):
        if node in gone:
            graph.graph.erase_node(node)
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
