"""The state of a training on disk, so that one that was killed goes on where it was and ends with the same weights.

A snapshot is one safetensors file, never a pickle: weights, averaged weights, what the optimizer remembers and the
states of the random generators as tensors, and everything else as JSON in its header. It is written beside its place
and renamed, so a file that is there is whole.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

EVERY_S = 10.0
_SHARE = 0.02
_HEADER = "layerprune-training"


@dataclass(frozen=True)
class Snapshot:
    """Tensors by name, facts as JSON: what `train_` needs to go on."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


@dataclass
class Snapshots:
    """Where a training leaves its state, and the state it may go on from.

    `key` says which training it is: a snapshot with another key is not used. `stage` counts the trainings that together
    make one network, and `context` is what the caller wants to find again with the snapshot. Snapshots are written at
    most every 10 s, and seldom enough to cost 2 % of the time.
    """

    path: Path
    key: str
    resume: Path | None = None
    stage: int = 0
    context: dict[str, Any] = field(default_factory=dict)
    every_s: float = field(default_factory=lambda: EVERY_S)
    notes: list[str] = field(default_factory=list)
    _found: Snapshot | None = field(default=None, init=False, repr=False)
    _due: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        self._due = time.monotonic() + self.every_s
        if self.resume is not None:
            self._found = self._read(self.resume)

    @property
    def found(self) -> Snapshot | None:
        """The snapshot to go on from, if there is one of this training."""
        return self._found

    def of_stage(self) -> Snapshot | None:
        """Return the snapshot if it was taken in the present stage."""
        if self._found is None or self._found.facts["stage"] != self.stage:
            return None
        return self._found

    def reject(self, why: str) -> None:
        """Note that the snapshot is of no use after all."""
        self.notes.append(f"the checkpoint of an earlier attempt was ignored: {why}")
        self._found = None

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def save(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Write the state; a full disk is noted and does not stop the training."""
        started = time.monotonic()
        part = self.path.with_suffix(".part")
        told = {**facts, "key": self.key, "stage": self.stage, "context": self.context}
        try:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                part,
                metadata={_HEADER: json.dumps(told)},
            )
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(self.path)
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            note = f"no checkpoint could be written: {error}"
            if note not in self.notes:
                self.notes.append(note)
        ended = time.monotonic()
        self._due = ended + max(self.every_s, (ended - started) / _SHARE if self.every_s else 0.0)

    def _read(self, path: Path) -> Snapshot | None:
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {})[_HEADER])
                if facts["key"] != self.key:
                    self.reject("it is of another plan or another recipe")
                    return None
                return Snapshot({name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            self.reject(f"it cannot be read ({type(error).__name__}: {error})")
            return None
