"""Give every runtime the files that it reads: ONNX as it is, or programs that are made from it beforehand."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from layerprune.api.errors import LayerPruneError

from .children import clean_environment
from .harness.backends import PROGRAMS

NEEDED = ("torch", "onnx")
"""Packages with which a worker can make programs."""
_ZIP = b"PK\x03\x04"
EACH_S = 120.0
"""A large network takes some seconds; this is a limit for one that never ends."""


def can_convert() -> bool:
    """Tell whether this environment can make programs from ONNX."""
    return all(importlib.util.find_spec(package) is not None for package in NEEDED)


def files_for(backend: str, networks: Mapping[str, Path], *, shape: Sequence[int], folder: Path) -> dict[str, Path]:
    """Return the file of each session that the backend can load; `shape` is that of one image (C, H, W).

    What has to be made lies in `folder` by the digest of its source, and is made once, all in one process. A file that
    is a program already stays as it is.
    Raises LayerPruneError with the code `parse_rejected` for a network that cannot be converted, else `crashed` or
    `timeout`.
    """
    if backend not in PROGRAMS:
        return dict(networks)
    folder.mkdir(parents=True, exist_ok=True)
    sizes = "x".join(map(str, shape))
    made = {name: _target(path, folder, sizes) for name, path in networks.items()}
    missing = {target: networks[name] for name, target in made.items() if not target.exists()}
    if missing:
        _convert(missing, shape)
    return made


def _target(source: Path, folder: Path, sizes: str) -> Path:
    content = source.read_bytes()
    is_program = content.startswith(_ZIP)
    return source if is_program else folder / f"{hashlib.sha256(content).hexdigest()}-{sizes}.pt2"


def _convert(missing: Mapping[Path, Path], shape: Sequence[int]) -> None:
    asked = {"shape": list(shape), "files": [[str(source), str(target)] for target, source in missing.items()]}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "workers.programs"],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=EACH_S * (1 + len(missing)),
            env=clean_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LayerPruneError(
            f"making programs from {len(missing)} ONNX files took longer than {error.timeout:.0f} s",
            code="timeout",
            remedy="Measure these networks with a backend that reads ONNX.",
        ) from error
    if done.returncode == 0:
        return
    try:
        told = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise LayerPruneError(
            f"the process that makes programs from ONNX ended with status {done.returncode}: {done.stderr[-2000:]}",
            code="crashed",
            remedy="Check that this environment has the packages of layerprune[build].",
        ) from None
    raise LayerPruneError(told["message"], code=told["code"], value=told["value"], remedy=told["remedy"])
