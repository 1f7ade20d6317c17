"""Read weights that were handed in, and say exactly where they do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from layerprune.api.errors import BadInput
from layerprune.inspection.safetensors_file import inspect_safetensors

_SHOWN = 5
REMEDY = "Send the weights of this very network, as safetensors with PyTorch's names: see layerprune import."


def load_weights_(model: nn.Module, path: Path) -> None:
    """Load a safetensors file into the model. Raises BadInput with the code "weights_mismatch"."""
    load_state_(model, read_safetensors(path))


def load_state_(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load tensors by their names into the model. Raises BadInput as `check_state` does."""
    check_state(model, state)
    model.load_state_dict(dict(state))


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file. Raises BadInput for anything else, a pickle above all."""
    from safetensors.torch import load_file

    inspect_safetensors(path)
    tensors: dict[str, Tensor] = load_file(path)
    return tensors


def check_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Raise BadInput unless the tensors are those of the model: names the first that does not fit, with both shapes."""
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name in state and state[name].shape != tensor.shape:
            message = (
                f"{name} has the shape {list(state[name].shape)} in the file and {list(tensor.shape)} in the network"
            )
            raise _misfit(message + _classes_hint(model, name, state[name]), name)
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    if missing or unexpected:
        parts = [("the network has, the file has not", missing), ("the file has, the network has not", unexpected)]
        message = "; ".join(f"{what}: {_some(names)}" for what, names in parts if names)
        raise _misfit(message, (missing or unexpected)[0])
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise _misfit(f"{name} holds NaN or infinity", name, remedy="Take a checkpoint from before it diverged.")


def classes_of(model: nn.Module, state: Mapping[str, Tensor]) -> int | None:
    """How many classes the tensors were trained for: the length of the network's last weighted layer's bias or weight.

    None if the tensors lack that layer.
    """
    name = classifier_of(model)
    for kind in ("weight", "bias"):
        if name is not None and (tensor := state.get(f"{name}.{kind}")) is not None:
            return len(tensor)
    return None


def classifier_of(model: nn.Module) -> str | None:
    """The name of the layer whose outputs are the classes: the last linear layer or convolution, as registered."""
    names = [name for name, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    return names[-1] if names else None


def _classes_hint(model: nn.Module, name: str, tensor: Tensor) -> str:
    if name.rpartition(".")[0] != classifier_of(model):
        return ""
    return f": it was trained for {len(tensor)} classes"


def _misfit(message: str, value: str, *, remedy: str = REMEDY) -> BadInput:
    return BadInput(
        f"the weights do not fit the network: {message}",
        field="model.weights",
        value=value,
        code="weights_mismatch",
        remedy=remedy,
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
