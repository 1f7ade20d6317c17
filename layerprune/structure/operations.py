"""What a node of a traced graph does, read from its operation and not from any network's name."""

from __future__ import annotations

from collections.abc import Sequence

from torch import fx, nn
from torch.fx.passes.shape_prop import TensorMetadata

_SPATIAL = ("pool", "interpolate", "upsample", "pad")
_MOVING = ("view", "reshape", "flatten", "unflatten", "transpose", "permute", "contiguous", "channelshuffle")


def module_of(node: fx.Node) -> nn.Module | None:
    """The module that the node calls, if it calls one."""
    owner = node.graph.owning_module
    return owner.get_submodule(str(node.target)) if owner is not None and node.op == "call_module" else None


def label(node: fx.Node) -> str:
    """The operation in one word: the class or the function's name, in lower case without underscores."""
    module = module_of(node)
    if module is not None:
        word = type(module).__name__
    else:
        word = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return word.replace("_", "").lower()


def is_weighted(node: fx.Node) -> bool:
    """Whether the node multiplies: convolutions, linear layers, attention; norms and activations do not."""
    return bool(node.meta.get("macs", 0))


def is_norm(node: fx.Node) -> bool:
    return "norm" in label(node)


def is_moving(node: fx.Node) -> bool:
    """Whether the node only rearranges its input's elements."""
    return any(word in label(node) for word in _MOVING)


def is_elementwise(node: fx.Node) -> bool:
    """Whether the node works on each element of its one input: activations and dropout."""
    others = is_weighted(node) or is_norm(node) or any(word in label(node) for word in _SPATIAL)
    sources = node.all_input_nodes
    return not others and len(sources) == 1 and same_shape(sources[0], node)


def is_tensor(node: fx.Node) -> bool:
    """Whether the node gives one tensor, and not several or something else."""
    return isinstance(node.meta.get("tensor_meta"), TensorMetadata)


def same_shape(first: fx.Node, second: fx.Node) -> bool:
    """Whether both nodes are single tensors of one shape and type."""
    if not is_tensor(first) or not is_tensor(second):
        return False
    one, other = first.meta["tensor_meta"], second.meta["tensor_meta"]
    return (one.shape, one.dtype) == (other.shape, other.dtype)


def same_but_channels(first: fx.Node, second: fx.Node) -> bool:
    """Whether both nodes are images of one size and type with different numbers of channels."""
    if not is_tensor(first) or not is_tensor(second):
        return False
    one, other = first.meta["tensor_meta"], second.meta["tensor_meta"]
    images = len(one.shape) == len(other.shape) == 4 and one.dtype == other.dtype
    return images and one.shape[2:] == other.shape[2:] and one.shape[1] != other.shape[1]


def answering(graph: fx.Graph) -> list[fx.Node]:
    """The weighted nodes that compute the network's outputs, with nothing but weightless ones after them."""
    found: list[fx.Node] = []
    seen: set[fx.Node] = set()
    waiting = [node for node in graph.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if is_weighted(node):
            found.append(node)
        elif node not in seen:
            seen.add(node)
            waiting.extend(node.all_input_nodes)
    return found


def container(node: fx.Node) -> tuple[str, ...]:
    """The path of the module in whose forward the node stands; empty where the graph does not know."""
    if node.op == "call_module":
        return tuple(str(node.target).split("."))[:-1]
    stack = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else ""
    return tuple(path.split(".")) if path else ()


def path(node: fx.Node) -> tuple[str, ...]:
    """Where the node stands, with its own name last."""
    return tuple(str(node.target).split(".")) if node.op == "call_module" else (*container(node), node.name)


def bare_kind(node: fx.Node) -> str:
    """The kind of a layer that consists of one weighted operation with its norm and activation."""
    module = module_of(node)
    if isinstance(module, nn.modules.conv._ConvNd):
        if module.groups > 1 and module.groups == module.in_channels == module.out_channels:
            return "depthwise_conv"
        single = is_tensor(node) and all(
            size == 1 for size in (*node.meta["tensor_meta"].shape[2:], *module.kernel_size)
        )
        return "linear" if single else "conv"  # over a single position, a convolution is a linear layer
    word = label(node)
    if isinstance(module, nn.Linear) or word == "linear":
        return "linear"
    return next((kind for kind in ("conv", "attention") if kind in word), "other")


def block_kind(nodes: Sequence[fx.Node], merge: fx.Node) -> str:
    """The kind of a layer whose paths part at its entry and meet at ``merge``."""
    words = [label(node) for node in nodes]
    if label(merge) in ("mul", "imul"):
        return "squeeze_excite"
    mixes = any(is_weighted(node) and node.op != "call_module" and label(node) != "linear" for node in nodes)
    if any("attention" in word or (mixes and word == "softmax") for word in words):
        return "attention"
    kinds = {bare_kind(node) for node in nodes if is_weighted(node)}
    if kinds == {"linear"}:
        return "mlp"
    return "residual_block" if label(merge) in ("add", "iadd") else "block"


def parameters(node: fx.Node) -> list[nn.Parameter]:
    """The parameters that the node uses by itself."""
    module = module_of(node)
    if module is not None:
        return list(module.parameters())
    if node.op == "get_attr" and node.graph.owning_module is not None:
        value = attribute(node.graph.owning_module, str(node.target))
        return [value] if isinstance(value, nn.Parameter) else []
    return []


def attribute(module: nn.Module, target: str) -> object:
    """The attribute at a dotted path."""
    value: object = module
    for part in target.split("."):
        value = getattr(value, part)
    return value
