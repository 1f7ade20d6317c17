"""Comparisons that are repeated many times and kept, so that a benchmark that was interrupted goes on where it was."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from layerprune import models
from layerprune.export import export_onnx
from layerprune.stats import wilson

Entry = dict[str, Any]


class Record:
    """One JSON line per repeat, by the case that it belongs to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[Entry]] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                self._known.setdefault(entry["case"], []).append(entry)

    def repeat(self, case: str, wanted: int, measure: Callable[[int], Entry]) -> list[Entry]:
        """The case's first `wanted` entries; `measure` is called with the number of each that is missing."""
        found = self._known.setdefault(case, [])
        while len(found) < wanted:
            entry = {"case": case, **measure(len(found))}
            with self._path.open("a") as lines:
                lines.write(json.dumps(entry) + "\n")
            found.append(entry)
        return found[:wanted]


def share(count: int, of: int) -> str:
    """A count with its share and the share's 95 % interval (Wilson)."""
    value, low, high = wilson(count, of)
    return f"{count} of {of} ({value:.1%}; {low:.1%} to {high:.1%})"


def networks(names: dict[str, int]) -> Iterator[tuple[str, int, bytes]]:
    """Untrained networks (name -> height and width of the input) as ONNX."""
    torch.set_num_threads(1)
    for name, size in names.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            export_onnx(models.build(name, classes=10, seed=1).eval(), torch.zeros(1, 3, size, size), path)
            yield name, size, path.read_bytes()
