"""Write a torch.fx graph node by node, and run each on a sample at once, so that every shape is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import onnx
import torch
from torch import Tensor, fx, nn

from .naming import clean, module_name, owner_of
from .values import Constant, Data


class Builder:
    """A graph under construction. Modules get their names when it is finished, parameters when they are used."""

    def __init__(self, sample: Tensor, uses: Counter[str]) -> None:
        self.graph = fx.Graph()
        self.input = Data(self.graph.placeholder("images"), sample, 0)
        self.uses = uses
        """How often the file uses each of its values."""
        self._root = nn.Module()
        self._modules: dict[fx.Node, tuple[nn.Module, str]] = {}
        self._tensors: dict[str, fx.Node] = {}

    def call(self, function: Callable[..., Any], *args: Any, axis: int, **kwargs: Any) -> Data:
        """Emit a function of Data, Constants (which become parameters or buffers) and Python values."""
        nodes, samples = (tuple(self._resolved(arg, part) for arg in args) for part in (0, 1))
        with torch.no_grad():
            sample = function(*samples, **kwargs)
        return Data(self.graph.call_function(function, nodes, kwargs), sample, axis)

    def method(self, name: str, *args: Any, axis: int) -> Data:
        """Emit a method of a tensor."""
        nodes, samples = (tuple(self._resolved(arg, part) for arg in args) for part in (0, 1))
        with torch.no_grad():
            sample = getattr(samples[0], name)(*samples[1:])
        return Data(self.graph.call_method(name, nodes), sample, axis)

    def module(
        self, module: nn.Module, value: Data, proto: onnx.NodeProto, *weights: Constant | None, axis: int | None = None
    ) -> Data:
        """Emit a module, called after its weights or its node; the batch stays where it is unless `axis` says."""
        with torch.no_grad():
            sample = module.eval()(value.sample)
        node = self.graph.call_module(f"m{len(self._modules)}", (value.node,))
        self._modules[node] = (module, module_name(proto, *weights))
        return Data(node, sample, value.axis if axis is None else axis)

    def module_of(self, value: Data) -> nn.Module | None:
        """The module that computes a value, if one does."""
        return self._modules[value.node][0] if value.node in self._modules else None

    def add_bias_(self, value: Data, bias: Constant) -> Data:
        """Give the bias to the module that computes `value`, in place of an addition behind it."""
        module, name = self._modules[value.node]
        module.bias = nn.Parameter(torch.tensor(bias.array).reshape(-1))
        self._modules[value.node] = (module, owner_of(bias.name) or name)
        with torch.no_grad():
            shape = (-1, 1, 1) if isinstance(module, nn.Conv2d) else (-1,)
            sample = value.sample + module.bias.reshape(shape)
        return Data(value.node, sample, value.axis)

    def tensor(self, constant: Constant) -> tuple[fx.Node, Tensor]:
        """The node and the value of a parameter, or of a buffer if the constant cannot be trained."""
        tensor = torch.tensor(constant.array)
        if constant.name not in self._tensors:
            name = self._place(clean(constant.name), nn.Parameter(tensor) if constant.is_weight else tensor)
            self._tensors[constant.name] = self.graph.get_attr(name)
        return self._tensors[constant.name], tensor

    def finish(self, output: Data) -> fx.GraphModule:
        """Close the graph and name its modules."""
        self.graph.output(output.node)
        for node, (module, name) in self._modules.items():
            node.target = self._place(name, module)
        graph = fx.GraphModule(self._root, self.graph, "ImportedNetwork")
        graph.graph.eliminate_dead_code()
        graph.delete_all_unused_submodules()
        graph.recompile()
        return graph.eval()

    def _resolved(self, value: object, part: int) -> Any:
        if isinstance(value, Data):
            return (value.node, value.sample)[part]
        if isinstance(value, Constant):
            return self.tensor(value)[part]
        if isinstance(value, (list, tuple)):
            return type(value)(self._resolved(each, part) for each in value)
        return value

    def _place(self, name: str, what: nn.Module | Tensor) -> str:
        """Put a module, parameter or buffer under a name that is free, and return the name."""
        free, number = name, 0
        while not self._is_free(free):
            number += 1
            free = f"{name}_{number}"
        *path, own = free.split(".")
        owner = self._root
        for part in path:
            if not hasattr(owner, part):
                owner.add_module(part, nn.Module())
            owner = getattr(owner, part)
        if isinstance(what, nn.Module):
            owner.add_module(own, what)
        elif isinstance(what, nn.Parameter):
            owner.register_parameter(own, what)
        else:
            owner.register_buffer(own, what)
        return free

    def _is_free(self, name: str) -> bool:
        *path, own = name.split(".")
        owner: object = self._root
        for part in path:
            # Containers are plain modules; anything else has children or attributes of its own.
            if type(owner) is not nn.Module or (hasattr(owner, part) and part not in owner._modules):
                return False
            owner = owner._modules.get(part) or nn.Module()
        return type(owner) is nn.Module and not hasattr(owner, own)
