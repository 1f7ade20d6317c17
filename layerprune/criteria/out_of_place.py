"""A graph whose values stay as they were computed."""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

_OPERATORS: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


def out_of_place(graph: fx.GraphModule) -> fx.GraphModule:
    """Return a graph with the same nodes, names and tensors whose operations write into none of their inputs.

    So a value can be read after the nodes behind it have run, and the network can be run again from any node on. What
    read a changed input before reads the operation's result instead: the network computes what it did. Operations that
    exist in place only (assignments to slices) stay as they are.
    """
    wiring = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    wiring.output(wiring.graph_copy(graph.graph, copies))
    for node, twin in copies.items():
        twin.meta = dict(node.meta)
    sketch = fx.GraphModule(graph, wiring)
    position = {node: place for place, node in enumerate(wiring.nodes)}
    for node in wiring.nodes:
        changed = node.all_input_nodes[0] if node.all_input_nodes else None
        if changed is not None and _rewrite(sketch, node):
            for user in list(changed.users):
                if position[user] > position[node]:
                    user.replace_input_with(changed, node)
    sketch.recompile()
    return sketch


def _rewrite(sketch: fx.GraphModule, node: fx.Node) -> bool:
    """Turn a node that writes into its first input into one that does not; False if it is none such."""
    if node.op == "call_module":
        return _rewrite_module(sketch, str(node.target))
    if node.op == "call_method":
        name = str(node.target)
        if not name.endswith("_") or name.endswith("__") or not hasattr(Tensor, name[:-1]):
            return False
        node.target = name[:-1]
        return True
    if node.op != "call_function":
        return False
    pure = _OPERATORS.get(node.target) or _pure_function(node.target)
    if pure is not None:
        node.target = pure
        return True
    return _rewrite_argument(node)


def _rewrite_module(sketch: fx.GraphModule, name: str) -> bool:
    module = sketch.get_submodule(name)
    # One with weights is a norm with its activation, which works in place on the norm's own result.
    if getattr(module, "inplace", False) is not True or next(module.parameters(), None) is not None:
        return False
    twin: Any = copy.copy(module)
    twin.inplace = False
    sketch.set_submodule(name, twin)
    return True


def _rewrite_argument(node: fx.Node) -> bool:
    names = _parameters(node.target)
    place = names.index("inplace") if "inplace" in names else len(node.args)
    if not node.kwargs.get("inplace") and not any(node.args[place : place + 1]):
        return False
    node.args = node.args[:place]
    node.kwargs = {
        **dict(zip(names[place + 1 :], node.args[place + 1 :], strict=False)),
        **node.kwargs,
        "inplace": False,
    }
    return True


def _pure_function(target: Any) -> Callable[..., Any] | None:
    """`torch.relu` for `torch.relu_`, `torch.ops.aten.relu.default` for `torch.ops.aten.relu_.default`."""
    if isinstance(target, torch._ops.OpOverload):
        namespace, _, name = target._schema.name.partition("::")
        if not name.endswith("_"):
            return None
        packet = getattr(getattr(torch.ops, namespace), name.removesuffix("_"), None)
        return getattr(packet, target._overloadname, None)
    name = getattr(target, "__name__", "")
    return getattr(torch, name.removesuffix("_"), None) if name.endswith("_") and not name.endswith("__") else None


def _parameters(target: Any) -> list[str]:
    try:
        return list(inspect.signature(target).parameters)
    except (TypeError, ValueError):  # built in, without a signature
        return []
