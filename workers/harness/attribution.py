"""Put what a runtime's nodes took down to the layers of the original file.

An optimiser fuses, renames and reorders. A layer belongs to the first node of the optimised graph that is met on the
way from it to the output: what was fused with a layer comes after it, and has one consumer only.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Tuple

from .layouts import BLOCKED_DOMAIN
from .onnx_graph import Graph, Node

CONVOLUTIONS = ("Conv", "ConvTranspose")
WEIGHTED = (*CONVOLUTIONS, "Gemm", "MatMul")
BLOCKED, PLAIN = "blocked", "plain"
_ADDED = re.compile(r"(?:_nchwc)?(?:_token_\d+)?$")
"""What the optimiser appends to the name of the tensor that a node in blocked layout stands for."""


@dataclass(frozen=True)
class NodeTime:
    """What one node of the optimised graph takes for an inference, and the shape of its first output."""

    ns: float
    shape: Tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A weighted operation of the original file: its shapes, its MACs for one inference, and where its time goes.

    `ns` holds what was fused with it, such as the activation; it is None where the layer was folded away. `layout` is
    "blocked", "plain" or, for what is no convolution, empty.
    """

    name: str
    weight: str
    op: str
    ns: Optional[float]
    macs: int
    layout: str
    in_channels: int
    out_channels: int
    groups: int
    kernel: Tuple[int, ...]


@dataclass(frozen=True)
class Other:
    """All nodes of one kind that are no layers: reorders, additions, pooling, ..."""

    op: str
    count: int
    ns: float


def attribute(original: Graph, optimised: Graph, times: Mapping[str, NodeTime]) -> Tuple[List[Layer], List[Other]]:
    """Return the layers in the order of the file, and everything else by kind; `times` is by name of optimised node."""
    standing_for = _standing_for(original, optimised)
    layers: List[Layer] = []
    owners = set()
    for node in original.nodes:
        if node.op not in WEIGHTED or len(node.inputs) < 2 or not _weight_dims(original, node):
            continue
        owner = _owner(original, node, standing_for)
        time = times.get(owner.name) if owner is not None else None
        if owner is not None:
            owners.add(owner.name)
        layers.append(_layer(original, node, owner, time))
    others: Dict[str, List[float]] = {}
    for node in optimised.nodes:
        if node.name not in owners and node.name in times:
            others.setdefault(node.op, []).append(times[node.name].ns)
    kinds = [Other(op, len(found), sum(found)) for op, found in others.items()]
    return layers, sorted(kinds, key=lambda kind: -kind.ns)


def _standing_for(original: Graph, optimised: Graph) -> Dict[str, Node]:
    """Return the optimised node that makes what an original node made, by the original node's first output."""
    made = {node.outputs[0] for node in original.nodes if node.outputs}
    named = {node.name: node.outputs[0] for node in original.nodes if node.name and node.outputs}
    found: Dict[str, Node] = {}
    for node in optimised.nodes:
        bare = _ADDED.sub("", node.name)
        for tensor in (*node.outputs[:1], bare, named.get(node.name), named.get(bare)):
            if tensor in made:
                found.setdefault(str(tensor), node)
                break
    return found


def _owner(original: Graph, node: Node, standing_for: Mapping[str, Node]) -> Optional[Node]:
    seen = set()
    while node.outputs and node.outputs[0] not in seen:
        tensor = node.outputs[0]
        if tensor in standing_for:
            return standing_for[tensor]
        seen.add(tensor)
        consumers = [other for other in original.nodes if tensor in other.inputs]
        if len(consumers) != 1:
            return None
        node = consumers[0]
    return None


def _weight_dims(graph: Graph, node: Node) -> Tuple[int, ...]:
    tensor = graph.tensors.get(node.inputs[1])
    return tensor.dims if tensor is not None and len(tensor.dims) >= 2 else ()


def _layer(graph: Graph, node: Node, owner: Optional[Node], time: Optional[NodeTime]) -> Layer:
    dims, groups = _weight_dims(graph, node), node.number("group", 1)
    is_convolution = node.op in CONVOLUTIONS
    if is_convolution:
        out_channels, in_channels = dims[0], dims[1] * groups
        if node.op == "ConvTranspose":
            out_channels, in_channels = dims[1] * groups, dims[0]
    else:
        transposed = node.op == "Gemm" and node.number("transB", 0)
        out_channels, in_channels = (dims[-2], dims[-1]) if transposed else (dims[-1], dims[-2])
    places = 0
    if time is not None and time.shape:
        places = time.shape[0] * math.prod(time.shape[2:]) if is_convolution else math.prod(time.shape[:-1])
    return Layer(
        name=node.name or node.outputs[0],
        weight=node.inputs[1],
        op=node.op,
        ns=None if time is None else time.ns,
        macs=places * in_channels * out_channels // groups * (math.prod(dims[2:]) if is_convolution else 1),
        layout="" if not is_convolution else BLOCKED if owner is not None and owner.domain == BLOCKED_DOMAIN else PLAIN,
        in_channels=in_channels,
        out_channels=out_channels,
        groups=groups,
        kernel=tuple(dims[2:]) if is_convolution else (),
    )
