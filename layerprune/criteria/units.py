"""The weighted operations of a graph and the place behind each where its output channels can be gated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from layerprune.structure import operations


@dataclass(frozen=True)
class Gate:
    """A graph node whose channels are the outputs of a weighted operation, behind its batch norm if one follows.

    Dimension ``batch_dim`` has ``per_image`` entries for each image: more than one where a network cuts images into
    windows. ``channel_dim`` is 1 (maps) or -1 (tokens, vectors).
    """

    node: str
    batch_dim: int
    per_image: int
    channel_dim: int

    def channels(self, value: Tensor, images: int) -> Tensor:
        """View a value of the node as images x channels x positions (pixels or tokens)."""
        if self.channel_dim == 1 and self.per_image == 1:
            return value.flatten(2)
        parts = value.movedim(self.batch_dim, 0).movedim(self.channel_dim, 1)
        return parts.reshape(images, self.per_image, *parts.shape[1:]).movedim(2, 1).flatten(2)


@dataclass(eq=False)
class Unit:
    """A weight with one row per output channel: of a convolution, a linear layer, a projection inside an attention.

    ``name`` is the module's, or the parameter's where no such module owns it. A unit that is called several times has
    several gates; one whose output is no value of the graph (the first projection of an attention that is a single
    node) has none.
    """

    name: str
    parameter: str
    weight: nn.Parameter
    nodes: list[str] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    norm: _BatchNorm | None = None

    @property
    def rows(self) -> Tensor:
        """The weights as C_out x weights of a filter."""
        return self.weight.detach().flatten(1)


def find_units(graph: fx.GraphModule) -> list[Unit]:
    """Every weight that the weighted nodes of a graph from ``trace`` read, in forward order, each once."""
    names = {id(parameter): name for name, parameter in graph.named_parameters()}
    found: dict[int, Unit] = {}
    for node in graph.graph.nodes:
        weights = list(_weights(graph, node)) if operations.is_weighted(node) else []
        for weight in weights:
            unit = found.setdefault(id(weight), _unit(graph, names[id(weight)], weight))
            unit.nodes.append(node.name)
        if weights:
            _attach(found[id(weights[-1])], node)  # the last one makes the output, as in attention
    return list(found.values())


def _weights(graph: fx.GraphModule, node: fx.Node) -> Iterator[nn.Parameter]:
    module = operations.module_of(node)
    if module is None:
        reads = (str(source.target) for source in node.all_input_nodes if source.op == "get_attr")
        candidates = [operations.attribute(graph, target) for target in reads]
    elif isinstance(module, _ConvTransposeNd):
        candidates = []  # its rows are input channels
    else:
        candidates = list(module.parameters())
    for candidate in candidates:
        if isinstance(candidate, nn.Parameter) and candidate.ndim >= 2 and candidate.is_floating_point():
            yield candidate


def _unit(graph: fx.GraphModule, parameter: str, weight: nn.Parameter) -> Unit:
    owner, _, attribute = parameter.rpartition(".")
    owned = attribute == "weight" and isinstance(graph.get_submodule(owner), (nn.Linear, _ConvNd))
    return Unit(owner if owned else parameter, parameter, weight)


def _attach(unit: Unit, node: fx.Node) -> None:
    """Note the batch norm behind the node that makes the unit's output, and the gate behind both."""
    module = operations.module_of(node)
    mapped = isinstance(module, _ConvNd) if module is not None else "conv" in operations.label(node)
    if not operations.is_tensor(node):  # an attention that gives its weights too
        parts = [user for user in node.users if operations.is_tensor(user) and user.args[1:] == (0,)]
        if not parts:
            return
        node = parts[0]
    for user in list(node.users):
        norm = operations.module_of(user)
        if isinstance(norm, _BatchNorm):
            node, unit.norm = user, unit.norm or norm
            break
    shape = node.meta["tensor_meta"].shape  # of one image
    channel_dim = 1 if mapped else -1
    if len(shape) < 2 or shape[channel_dim] != unit.weight.shape[0]:
        return
    batch_dim = 1 if len(shape) == 3 and not mapped and shape[1] == 1 != shape[0] else 0
    unit.gates.append(Gate(node.name, batch_dim, int(shape[batch_dim]), channel_dim))
