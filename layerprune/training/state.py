"""The state of a training as named tensors, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from .step import Step

_RANDOM = "random/"


class StateDiffers(ValueError):
    """The tensors are those of another network, or of another way to train it."""


def write_state(
    model: nn.Module, averaged: AveragedModel | None, step: Step, random: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Name everything that changes while a network is trained; nothing is copied."""
    remembered = {
        f"optimizer/{key}/{name}": value
        for name, parameter in model.named_parameters()
        for key, value in step.optimizer.state.get(parameter, {}).items()
    }
    return dict(_weights(model, averaged)) | remembered | {_RANDOM + name: state for name, state in random.items()}


@torch.no_grad()
def read_state_(
    tensors: Mapping[str, Tensor], model: nn.Module, averaged: AveragedModel | None, step: Step
) -> dict[str, Tensor]:
    """Put the tensors where they belong and return the states of the random generators.

    Raises StateDiffers before anything is changed.
    """
    weights = dict(_weights(model, averaged))
    parameters = dict(model.named_parameters())
    stored = {name: tensor for name, tensor in tensors.items() if name.startswith(("model/", "averaged/"))}
    if odd := sorted(weights.keys() ^ stored.keys()):
        raise StateDiffers(f"{odd[0]!r} is not in both")
    for name, tensor in stored.items():
        if (tensor.shape, tensor.dtype) != (weights[name].shape, weights[name].dtype):
            raise StateDiffers(f"{name!r} has the shape {list(tensor.shape)}, here {list(weights[name].shape)}")
    remembered: list[tuple[str, str, Tensor]] = []
    for path, tensor in tensors.items():
        if path.startswith("optimizer/"):
            _, key, name = path.split("/", 2)
            if name not in parameters:
                raise StateDiffers(f"{name!r} is no parameter here")
            remembered.append((key, name, tensor))
    for name, tensor in stored.items():
        weights[name].copy_(tensor)
    for key, name, tensor in remembered:
        parameter = parameters[name]
        # A counter of steps, which has no dimension, stays on the CPU.
        step.optimizer.state[parameter][key] = tensor.to(parameter.device) if tensor.ndim else tensor
    return {name.removeprefix(_RANDOM): state for name, state in tensors.items() if name.startswith(_RANDOM)}


def _weights(model: nn.Module, averaged: AveragedModel | None) -> Iterator[tuple[str, Tensor]]:
    parts: dict[str, nn.Module] = {"model": model} | ({"averaged": averaged} if averaged is not None else {})
    for part, module in parts.items():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            yield f"{part}/{name}", tensor
