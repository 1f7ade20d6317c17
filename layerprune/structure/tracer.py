"""The tracer: torch.fx, with the shapes known that a forward decides by."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

_OF_SHAPE = frozenset({"size", "dim", "ndimension", "numel", "nelement", "stride", "element_size", "get_device"})
"""Tensor methods whose answer does not depend on the tensor's values; so do all attributes and ``is_*``."""


class Undecidable(Exception):
    """The forward decides by the values of a tensor."""


class Known(fx.Proxy):
    """A proxy that knows its value on the example, so that the forward may decide by sizes.

    Sizes themselves stay in the graph as nodes: only what is decided by them is fixed.
    """

    def __init__(self, node: fx.Node, tracer: KnowingTracer, value: object, *, of_data: bool) -> None:
        super().__init__(node, tracer)
        self.value, self.of_data, self._knowing = value, of_data, tracer

    def __getattr__(self, k: str) -> Any:
        found = getattr(self.value, k)  # raises AttributeError, as the value would
        return found if isinstance(found, str) else KnownAttribute(self, k)

    def decide(self) -> Any:
        """The value, for the forward to decide by. Raises Undecidable if it depends on the values of a tensor."""
        if self.of_data or isinstance(self.value, Tensor):
            raise Undecidable(f"its forward decides by the values of a tensor ({self.node.name})")
        self._knowing.decided = True
        return self.value

    def __bool__(self) -> bool:
        return bool(self.decide())

    def __int__(self) -> int:
        return int(self.decide())

    def __index__(self) -> int:
        return int(self.decide().__index__())

    def __float__(self) -> float:
        return float(self.decide())

    def __len__(self) -> int:
        return len(self.value)  # type: ignore[arg-type]

    def __setitem__(self, key: object, value: object) -> None:
        self.tracer.create_proxy("call_function", _set_item, (self, key, value), {})


class KnownAttribute(fx.proxy.Attribute, Known):
    """An attribute or a method of a known value; it enters the graph once something uses it."""

    def __init__(self, root: Known, attr: str) -> None:
        fx.proxy.Attribute.__init__(self, root, attr)
        self.value, self.of_data, self._knowing = getattr(root.value, attr), root.of_data, root._knowing


class KnowingTracer(fx.Tracer):
    """Traces a forward on an example and keeps modules whole that own parameters or contain nothing.

    Tracing through a module that owns parameters and has no child that does would turn its weights into loose
    parameters, which nothing can prune consistently; tracing through one without children (stochastic depth, an
    activation) would fix how it behaves in training. Arguments of the forward that have a default keep it.
    """

    proxy_buffer_attributes = True

    def __init__(self, example: Tensor) -> None:
        super().__init__()
        self.decided = False
        self._example = example
        self._running = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        below = any(next(child.parameters(), None) is not None for child in m.children())
        owns = next(m.parameters(recurse=False), None) is not None
        alone = next(m.children(), None) is None
        return (owns and not below) or alone or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
        return forward(*args, **kwargs) if self._running else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        return attr_val if self._running else super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_proxy(
        self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *named: Any, **options: Any
    ) -> Any:
        if kind == "placeholder":
            if args:
                return args[0]
            if target.startswith("*"):
                return {} if target.startswith("**") else ()
        if target is torch._assert:  # holds for the example; in the graph it would only keep dead sizes alive
            return self._value(kind, target, _values(args, []), {})
        node = super().create_proxy(kind, target, args, kwargs, *named, **options).node
        known: list[Known] = []
        arguments, keywords = _values(args, known), _values(kwargs, known)
        value = self._value(kind, target, arguments, keywords)
        of_data = any(source.of_data for source in known)
        if not of_data and not _has_tensor(value) and any(_has_tensor(source.value) for source in known):
            asked = target if kind == "call_method" else ""
            of_data = not (target is getattr or asked in _OF_SHAPE or asked.startswith("is_"))
        return Known(node, self, value, of_data=of_data)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        return (operator.getitem(cast(Any, obj), place) for place in range(len(obj)))

    def _value(self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kind == "placeholder":
            return self._example
        self._running = True
        try:
            if kind == "get_attr":
                value: Any = self.root
                for part in target.split("."):
                    value = getattr(value, part)
                return value
            if kind == "call_module":
                return self.root.get_submodule(target)(*args, **kwargs)
            if kind == "call_method":
                return getattr(args[0], target)(*args[1:], **kwargs)
            return target(*args, **kwargs) if kind == "call_function" else None
        finally:
            self._running = False


def _set_item(container: Any, key: Any, value: Any) -> Any:
    container[key] = value
    return container


def _values(arguments: Any, known: list[Known]) -> Any:
    """The arguments with each proxy's value in its place; the proxies are noted in ``known``."""
    if isinstance(arguments, Known):
        known.append(arguments)
        return arguments.value
    if isinstance(arguments, (tuple, list)):
        values = [_values(part, known) for part in arguments]
        if isinstance(arguments, tuple) and hasattr(arguments, "_fields"):
            return type(arguments)(*values)
        return type(arguments)(values)
    if isinstance(arguments, dict):
        return {key: _values(part, known) for key, part in arguments.items()}
    if isinstance(arguments, slice):
        return slice(*(_values(part, known) for part in (arguments.start, arguments.stop, arguments.step)))
    return arguments


def _has_tensor(value: object) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_has_tensor, value))
    return isinstance(value, Tensor)
