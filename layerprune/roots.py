"""The folders of this machine in which jobs may look for images, as the worker tells its build children."""

from __future__ import annotations

import os
from pathlib import Path

from layerprune.api.errors import BadInput

ROOTS = "LAYERPRUNE_DATA_ROOTS"
"""Environment variable with the folders, separated as in PATH; nothing outside them is opened on a job's word."""
DOWNLOADS = "LAYERPRUNE_DOWNLOADS"
"""Environment variable with the folder that public sets may be downloaded to; without it nothing is downloaded."""


def data_roots() -> list[Path]:
    """Return the folders below which a data set may lie, resolved."""
    return [Path(root).resolve() for root in os.environ.get(ROOTS, "").split(os.pathsep) if root]


def downloads() -> Path | None:
    """Return the folder to which public sets may be downloaded, or None."""
    folder = os.environ.get(DOWNLOADS)
    return Path(folder).resolve() if folder else None


def resolve(path: str) -> Path:
    """Return what a job's path means here: below a root after every link was followed. Raises BadInput.

    A relative path is looked for below each root in turn.
    """
    roots = data_roots()
    below = [place for root in roots if (place := (root / path).resolve()).is_relative_to(root)]
    for place in below:
        if place.exists():
            return place
    if below:
        message = f"there is no {path!r} below the data roots of this worker"
    else:
        # Says the same whether there is such a path or not, since it is none of the job's business.
        message = f"{path!r} lies below none of the {len(roots)} data roots of this worker"
    raise BadInput(
        message,
        field="dataset.path",
        value=path,
        remedy="Give a path below a data root (layerprune worker --data-root DIR), or upload the images.",
    )
