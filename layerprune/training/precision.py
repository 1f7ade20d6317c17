"""The arithmetic of a training: float32, or mixed with a 16-bit format where a short trial finds that faster here.

A trial is a measurement and may come out differently the next time, and other arithmetic gives other weights. So a job
makes it once, for its base, and hands the choice on to all its trainings; trainings that are too short to gain from it
stay in float32 without a trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

Dtype = Literal["float32", "bfloat16", "float16"]
_WORTHWHILE_MACS = 1e13
_WITHOUT_SHORT_FORMATS = ("DEFAULT", "AVX2")  # there bfloat16 is emulated, many times slower


@dataclass(frozen=True)
class Precision:
    """A number format and a memory layout, chosen on one type of device.

    `trial_ms` holds the milliseconds per step of everything that was tried; empty if nothing was.
    """

    dtype: Dtype = "float32"
    channels_last: bool = False
    device: str = "cpu"
    trial_ms: dict[str, float] = field(default_factory=dict, compare=False)

    @property
    def label(self) -> str:
        return f"{self.dtype}, channels last" if self.channels_last else self.dtype

    def autocast(self) -> AbstractContextManager[object]:
        """Run forward passes in the chosen format."""
        return torch.autocast(self.device, getattr(torch, self.dtype), enabled=self.dtype != "float32")

    def place(self, images: Tensor) -> Tensor:
        """Return the images in the chosen layout."""
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images


def handed_on(recipe: Mapping[str, Any], device: torch.device) -> Precision | None:
    """Return the choice in a stored recipe; None if there is none, or if it was made on another type of device."""
    stored = recipe.get("precision")
    if stored is None or stored["device"] != device.type:
        return None
    return Precision(**stored)


def options(device: torch.device) -> list[Precision]:
    """List what is worth trying on a device, float32 first.

    Channels-last only on CUDA: on a CPU with several threads, oneDNN's backward pass of torch 2.14.1 then corrupts
    memory at some channel counts (8 to 32 and 25 to 47 at stride 2), and pruned networks have all counts.
    """
    plain = Precision(device=device.type)
    if device.type != "cuda":
        if torch.backends.cpu.get_cpu_capability() in _WITHOUT_SHORT_FORMATS:
            return [plain]
        return [plain, Precision("bfloat16", device=device.type)]
    short: Dtype = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return [
        plain,
        Precision("float32", True, device.type),
        Precision(short, False, device.type),
        Precision(short, True, device.type),
    ]


def is_worth_a_trial(macs: int, *, images: int, epochs: int) -> bool:
    """Say whether a training is long enough to gain from the choice: on one core some minutes, or more.

    Counted, not timed, so that the answer is always the same; `macs` are those of one image's forward pass.
    """
    return 3.0 * macs * images * epochs >= _WORTHWHILE_MACS
