"""Filter scores as a file: safetensors with one tensor (float32 C_out) per CRITERION/MODULE."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from layerprune.api.errors import BadInput


def write_scores(path: Path, scores: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write filter scores by criterion and module."""
    flat = {f"{name}/{module}": values for name, found in scores.items() for module, values in found.items()}
    save_file({key: values.detach().float().cpu().contiguous() for key, values in flat.items()}, path)


def read_scores(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read what ``write_scores`` wrote. Raises BadInput for anything else."""
    try:
        flat = load_file(path)
    except SafetensorError as error:
        raise BadInput(
            f"the filter scores are no safetensors file: {error}",
            field="filter_scores",
            remedy="Send the file that the scoring task wrote, unchanged.",
        ) from error
    scores: dict[str, dict[str, Tensor]] = {}
    for key, values in flat.items():
        name, _, module = key.partition("/")
        scores.setdefault(name, {})[module] = values
    return scores
