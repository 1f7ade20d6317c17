"""Write a torch.fx graph node by node, and run each on a sample at once, so that every shape is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, fx, nn

from .naming import clean, module_name, owner_of
from .placing import place
from .values import Constant, Data


class Builder:
    """A graph under construction. Modules and tensors get their names when it is finished."""

    def __init__(self, sample: Tensor, uses: Counter[str]) -> None:
        self.graph = fx.Graph()
        self.uses = uses
        """How often the file uses each of its values."""
        self._data: dict[fx.Node, Data] = {}
        self._modules: dict[fx.Node, tuple[nn.Module, str]] = {}
        self._tensors: dict[fx.Node, tuple[Tensor, str]] = {}
        self._constants: dict[tuple[str, bool], tuple[fx.Node, Tensor]] = {}
        self.input = self.known(self.graph.placeholder("images"), sample, 0)

    def known(self, node: fx.Node, sample: Tensor, axis: int) -> Data:
        """Take note of what a node computes."""
        self._data[node] = Data(node, sample, axis)
        return self._data[node]

    def data_of(self, node: fx.Node) -> Data:
        return self._data[node]

    def module_of(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls, if it calls one."""
        return self._modules[node][0] if node in self._modules else None

    def call(self, function: Callable[..., Any], *args: Any, axis: int, **kwargs: Any) -> Data:
        """Emit a function of Data, Constants (parameters if they are weights, else buffers) and Python values."""
        nodes, samples = (tuple(self._resolved(arg, part) for arg in args) for part in (0, 1))
        with torch.no_grad():
            sample = function(*samples, **kwargs)
        return self.known(self.graph.call_function(function, nodes, kwargs), sample, axis)

    def method(self, name: str, *args: Any, axis: int) -> Data:
        """Emit a method of a tensor."""
        nodes, samples = (tuple(self._resolved(arg, part) for arg in args) for part in (0, 1))
        with torch.no_grad():
            sample = getattr(samples[0], name)(*samples[1:])
        return self.known(self.graph.call_method(name, nodes), sample, axis)

    def module(self, module: nn.Module, value: Data, proto: onnx.NodeProto, *weights: Constant | None) -> Data:
        """Emit a module, called after its weights or its node; the batch stays where it is."""
        return self._module(module, value, module_name(proto, *weights))

    def instead(self, value: Data, module: nn.Module, weight: Constant) -> Data:
        """Emit a module in place of the one that computes `value`, to which it adds a weight that may name it.

        The module that was there goes in the end, unless something else uses what it computes.
        """
        _, name = self._modules[value.node]
        (source,) = value.node.all_input_nodes
        return self._module(module, self._data[source], owner_of(weight.name) or name)

    def tensor(self, constant: Constant) -> tuple[fx.Node, Tensor]:
        """The node and the value of a parameter, if the constant is a weight, or of a buffer.

        A weight that says the same for many pairs of positions, as biases for relative positions do, becomes the table
        of what it says, as it was trained, and the list of where.
        """
        key = (constant.name, constant.is_weight)
        if key not in self._constants:
            table = _tied(constant) if constant.is_weight else None
            if table is None:
                self._constants[key] = self._own(constant)
            else:
                (entries, values), (where, index) = (self._own(part) for part in table)
                chosen = self.graph.call_function(torch.index_select, (entries, -1, where))
                node = self.graph.call_function(torch.reshape, (chosen, constant.array.shape))
                sample = torch.index_select(values, -1, index).reshape(constant.array.shape)
                self._constants[key] = node, sample
        return self._constants[key]

    def has_learned(self, value: Data) -> bool:
        """Whether weights have taken part in computing the value."""
        waiting, seen = [value.node], {value.node}
        while waiting:
            node = waiting.pop()
            module = self.module_of(node)
            if node in self._tensors or (module is not None and any(True for _ in module.parameters())):
                return True
            new = [source for source in node.all_input_nodes if source not in seen]
            seen.update(new)
            waiting.extend(new)
        return False

    def finish(self, output: Data) -> fx.GraphModule:
        """Close the graph, leave out what it does not need, and name its parts."""
        self.graph.output(output.node)
        for node in reversed(self.graph.nodes):
            if not node.users and node.op not in ("placeholder", "output"):
                self.graph.erase_node(node)
        root = nn.Module()
        parts: dict[fx.Node, tuple[nn.Module | Tensor, str]] = {**self._modules, **self._tensors}
        left = set(self.graph.nodes)
        for node, (part, name) in parts.items():
            if node in left:
                node.target = place(root, name, part)
        return fx.GraphModule(root, self.graph, "ImportedNetwork").eval()

    def _module(self, module: nn.Module, value: Data, name: str) -> Data:
        with torch.no_grad():
            sample = module.eval()(value.sample)
        node = self.graph.call_module(f"m{len(self._modules)}", (value.node,))
        self._modules[node] = (module, name)
        return self.known(node, sample, value.axis)

    def _own(self, constant: Constant) -> tuple[fx.Node, Tensor]:
        tensor = torch.tensor(constant.array)
        node = self.graph.get_attr(f"t{len(self._tensors)}")
        self._tensors[node] = nn.Parameter(tensor) if constant.is_weight else tensor, clean(constant.name)
        return node, tensor

    def _resolved(self, value: object, part: int) -> Any:
        if isinstance(value, Data):
            return (value.node, value.sample)[part]
        if isinstance(value, Constant):
            return self.tensor(value)[part]
        if isinstance(value, (list, tuple)):
            return type(value)(self._resolved(each, part) for each in value)
        return value


def _tied(weight: Constant) -> tuple[Constant, Constant] | None:
    """The distinct columns of a weight over pairs of positions (..., n, n), and which belongs to which pair."""
    *outer, rows, columns = (1, 1, 1, *weight.array.shape)[-max(3, weight.array.ndim) :]
    if weight.array.ndim < 3 or rows != columns:
        return None
    pairs = weight.array.reshape(-1, rows * columns)
    entries, index = np.unique(pairs, axis=1, return_inverse=True)
    # The n * n pairs of a window of n places have about 4 n distances; few repeated columns would be an accident.
    if not 1 < entries.shape[1] <= rows * columns * 3 // 4:
        return None
    table = entries.reshape(*outer, -1)
    return Constant(table, weight.name, is_weight=True), Constant(index.reshape(-1), f"{weight.name}.index")
