"""Find the weights of a network inside a training checkpoint, on the user's own machine."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layerprune.api.errors import BadInput

from .weights import classes_of, read_safetensors

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
PLAIN = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params")
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.", "ema_model.")
_COUNTERS = ("n_averaged",)
"""What torch's AveragedModel keeps beside the weights."""


@dataclass(frozen=True)
class Found:
    """The weights by the network's names, and what was done to find them."""

    state: dict[str, Tensor]
    notes: tuple[str, ...]


def read_checkpoint(path: Path, *, use_average: bool = True) -> Found:
    """Find the state dictionary in a checkpoint or a safetensors file; averaged weights (EMA) are preferred.

    Nothing in the file is run: torch.load with weights_only. Raises BadInput for a file that needs more than that, or
    that holds no weights.
    """
    if path.suffix == ".safetensors":
        return Found(read_safetensors(path), ())
    content = _load(path)
    notes: list[str] = []
    while not _is_state(content):
        if not isinstance(content, Mapping):
            raise _nothing(path, f"it holds {type(content).__name__}")
        key = _choose(content, use_average=use_average, notes=notes)
        if key is None:
            raise _nothing(path, f"it holds {', '.join(map(str, list(content)[:10])) or 'nothing'}")
        notes.append(f"took the weights under {key!r}")
        content = content[key]
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor) and name not in _COUNTERS}
    return Found(state, tuple(notes))


def fitted(found: Found, model: nn.Module) -> Found:
    """Strip the prefixes that wrappers put before the names, as long as that brings them closer to the model's."""
    expected = model.state_dict().keys()
    state, notes = found.state, list(found.notes)
    while prefix := _common_prefix(state):
        stripped = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        if len(stripped.keys() & expected) < len(state.keys() & expected) or len(stripped) < len(state):
            break
        if not stripped.keys() & expected and not _common_prefix(stripped):
            break
        state = stripped
        notes.append(f"removed the prefix {prefix!r} from {len(state)} names")
    return Found(state, tuple(notes))


def classes_in(found: Found, model: nn.Module) -> int:
    """How many classes the weights were trained for, by the shape of their classifier. Raises BadInput."""
    classes = classes_of(model, fitted(found, model).state)
    if classes is None:
        raise BadInput(
            "the number of classes cannot be read from the checkpoint: it lacks the network's classifier",
            field="checkpoint",
            code="weights_mismatch",
            remedy="Name the network that the checkpoint was made for, or give --classes.",
        )
    return classes


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadInput(
            f"{path.name} needs more than tensors and plain values to be read: {_first_line(error)}",
            field="checkpoint",
            value=str(path),
            code="weights_mismatch",
            remedy="It could run code, so it is not opened. Where it was trained, save the weights alone:"
            " torch.save(model.state_dict(), 'weights.pt')",
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise _nothing(path, _first_line(error)) from error


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    blamed = next((line.strip() for line in lines if "GLOBAL" in line or "global" in line), None)
    return blamed or (lines[0] if lines else type(error).__name__)


def _is_state(content: object) -> bool:
    """Whether this is a dictionary of tensors, apart from a counter or two."""
    if not isinstance(content, Mapping) or not content:
        return False
    tensors = sum(isinstance(value, Tensor) for value in content.values())
    return tensors > 0 and not any(isinstance(value, Mapping) for value in content.values())


def _choose(content: Mapping[Any, Any], *, use_average: bool, notes: list[str]) -> str | None:
    """The key under which the weights lie."""
    averaged, plain = (next((k for k in keys if _holds(content.get(k))), None) for keys in (AVERAGED, PLAIN))
    if averaged is None or plain is None:
        return averaged or plain
    if use_average:
        notes.append(f"there are averaged weights ({averaged!r}) beside {plain!r}; --no-ema takes the latter")
        return averaged
    notes.append(f"left the averaged weights under {averaged!r} alone")
    return plain


def _holds(value: object) -> bool:
    return isinstance(value, Mapping) and len(value) > 0


def _common_prefix(state: Mapping[str, Tensor]) -> str | None:
    return next((prefix for prefix in PREFIXES if state and all(name.startswith(prefix) for name in state)), None)


def _nothing(path: Path, why: str) -> BadInput:
    return BadInput(
        f"{path.name} holds no weights that can be found: {why}",
        field="checkpoint",
        value=str(path),
        code="weights_mismatch",
        remedy="Give a file of torch.save(model.state_dict()), or a checkpoint with one under "
        f"{', '.join(PLAIN[:4])} or {', '.join(AVERAGED[:2])}.",
    )
