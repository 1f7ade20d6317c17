"""The identity of an architecture: what is computed, without weights and without names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from torch import Tensor, fx, nn

from . import operations

_NOT_STRUCTURE = frozenset({"training", "inplace"})


def architecture_hash(graph: fx.GraphModule) -> str:
    """SHA-256 over operations, hyper-parameters, shapes and wiring; equal architectures have equal latency.

    Nodes, modules and weights enter by their number in forward order, so that a network without one of two equal blocks
    is the same whichever of them went.
    """
    return hashlib.sha256(json.dumps(describe(graph), separators=(",", ":")).encode()).hexdigest()


def describe(graph: fx.GraphModule) -> list[list[object]]:
    """One row per node in forward order: what is hashed. Modules that only act in training (dropout) have no row."""
    numbers: dict[fx.Node, int] = {}
    owners: dict[int, int] = {}
    rows: list[list[object]] = []
    for node in graph.graph.nodes:
        if node.meta.get("passes"):
            numbers[node] = numbers[node.all_input_nodes[0]]
            continue
        arguments = [_argument(value, numbers) for value in node.args]
        keywords = {key: _argument(value, numbers) for key, value in node.kwargs.items() if key not in _NOT_STRUCTURE}
        numbers[node] = len(rows)
        rows.append([node.op, _operation(node, owners), arguments, keywords])
    return rows


def outline(graph: fx.GraphModule) -> tuple[str, ...]:
    """One line per module with weights in forward order: name, class, shape of the weights, shape that comes out."""
    lines = []
    for node in graph.graph.nodes:
        module = operations.module_of(node)
        weights = next(module.parameters(), None) if module is not None else None
        if weights is not None:
            sizes = "x".join(map(str, weights.shape))
            answer = "x".join(map(str, node.meta["tensor_meta"].shape[1:])) if operations.is_tensor(node) else "several"
            lines.append(f"{node.target} {type(module).__name__} {sizes} -> {answer}")
    return tuple(lines)


def first_difference(planned: Sequence[str], present: Sequence[str]) -> str | None:
    """Where two outlines part, in words; None if they do not."""
    for place, (one, other) in enumerate(zip_longest(planned, present), start=1):
        if one != other:
            return f"place {place}: {one or 'nothing'} in the plan's network, {other or 'nothing'} in this one"
    return None


def _operation(node: fx.Node, owners: dict[int, int]) -> object:
    module = operations.module_of(node)
    if module is not None:
        return _module(module, owners)
    if node.op == "get_attr" and node.graph.owning_module is not None:
        value = operations.attribute(node.graph.owning_module, str(node.target))
        return [_tensor(value) if isinstance(value, Tensor) else repr(value), _number(value, owners)]
    if node.op == "placeholder":
        described = node.meta.get("tensor_meta")
        return list(described.shape[1:]) if described is not None else None
    if isinstance(node.target, str):
        return "" if node.op == "output" else node.target
    return f"{getattr(node.target, '__module__', '')}.{getattr(node.target, '__name__', node.target)}"


def _module(module: nn.Module, owners: dict[int, int]) -> object:
    """Class, public scalar attributes and shapes of the module and all below; weights that are shared stay visible."""
    described: list[object] = []
    for name, part in module.named_modules():
        values = {
            key: repr(value)
            for key, value in sorted(vars(part).items())
            if not key.startswith("_")
            and key not in _NOT_STRUCTURE
            and isinstance(value, (int, float, str, tuple, list))
        }
        tensors: Iterable[tuple[str, Tensor]] = [
            *part.named_parameters(recurse=False),
            *part.named_buffers(recurse=False),
        ]
        shapes = {key: _tensor(tensor) for key, tensor in tensors}
        described.append([name, f"{type(part).__module__}.{type(part).__qualname__}", values, shapes])
    stateful = next(module.parameters(), None) is not None or next(module.buffers(), None) is not None
    return [described, _number(module, owners) if stateful else None]


def _number(thing: object, owners: dict[int, int]) -> int:
    return owners.setdefault(id(thing), len(owners))


def _tensor(tensor: Tensor) -> list[object]:
    return [list(tensor.shape), str(tensor.dtype)]


def _argument(value: object, numbers: dict[fx.Node, int]) -> object:
    if isinstance(value, fx.Node):
        return {"node": numbers[value]}
    if isinstance(value, (tuple, list)):
        return [_argument(part, numbers) for part in value]
    if isinstance(value, dict):
        return {str(key): _argument(part, numbers) for key, part in value.items()}
    if isinstance(value, slice):
        return {"slice": [_argument(part, numbers) for part in (value.start, value.stop, value.step)]}
    return repr(value)
