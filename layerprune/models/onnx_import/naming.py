"""How the parts of a rebuilt network are called: as in the network that was exported, where the file still knows."""

from __future__ import annotations

import ast
import re

import onnx

from .values import Constant

_SCOPES = "pkg.torch.onnx.name_scopes"


def module_name(node: onnx.NodeProto, *weights: Constant | None) -> str:
    """The path of the module that wrote the node: by its weights' names, its scope or its own name."""
    for weight in weights:
        if weight is not None and (name := owner_of(weight.name)):
            return name
    scope = _scope(node)
    if scope:
        return scope
    path = [part for part in re.split(r"/", node.name) if part]
    joined: list[str] = []
    for part in path[:-1]:
        # TorchScript's scopes repeat the part of the parent: /layer1/layer1.0/conv1/Conv.
        if joined and part.startswith(f"{joined[-1]}."):
            joined[-1] = part
        else:
            joined.append(part)
    return clean(".".join(joined) or node.name or f"{node.op_type}_{node.output[0]}")


def owner_of(name: str) -> str:
    """The module of a parameter called MODULE.weight or MODULE.bias; empty for other names."""
    owner, _, own = name.rpartition(".")
    return clean(owner) if own in ("weight", "bias", "gamma", "beta") else ""


def clean(name: str) -> str:
    """The name with nothing but what attribute paths may hold."""
    parts = [re.sub(r"\W", "_", part) for part in name.split(".")]
    return ".".join(part for part in parts if part.strip("_")) or "unnamed"


def _scope(node: onnx.NodeProto) -> str:
    """The innermost module of torch's current exporter's note about where a node comes from."""
    text = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), "")
    try:
        scopes = ast.literal_eval(text) if text else []
    except (ValueError, SyntaxError):
        return ""
    inner = [scope for scope in scopes[:-1] if scope] if isinstance(scopes, list) else []
    return clean(str(inner[-1])) if inner else ""
