"""Put modules and tensors under dotted names, as the network that was exported had them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count

from torch import Tensor, nn


def place(root: nn.Module, name: str, what: nn.Module | Tensor) -> str:
    """Put a module, parameter or buffer under the name, numbered where it is taken; return the name."""
    *path, own = name.split(".")
    owner, names = root, []
    for part in path:
        names.append(_first(part, partial(_is_container, owner)))
        if not hasattr(owner, names[-1]):
            owner.add_module(names[-1], nn.Module())
        owner = owner.get_submodule(names[-1])
    names.append(_first(own, lambda free: not hasattr(owner, free)))
    if isinstance(what, nn.Module):
        owner.add_module(names[-1], what)
    elif isinstance(what, nn.Parameter):
        owner.register_parameter(names[-1], what)
    else:
        owner.register_buffer(names[-1], what)
    return ".".join(names)


def _first(name: str, suits: Callable[[str], bool]) -> str:
    return next(free for number in count() if suits(free := f"{name}_{number}" if number else name))


def _is_container(owner: nn.Module, name: str) -> bool:
    """Whether there is a plain module of this name, which holds parts and does nothing, or can be one."""
    return not hasattr(owner, name) or type(owner._modules.get(name)) is nn.Module
