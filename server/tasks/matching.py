"""Which worker can do which task.

A task's requirements are a dict with any of these keys: `model`, `rival`, `dataset`, `backend`, `precision` (names),
`criteria` (a list of names), `data_path` (below a data root of the worker), `imports_onnx` (true), `opset` and
`threads` (numbers that the backend must reach).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from layerprune.api.catalogue import BackendInfo, Catalogue
from server.models import Worker


def misfit(worker: Worker, *, role: str, device_id: int | None, requirements: Mapping[str, Any]) -> str | None:
    """Say why the worker cannot take a task with this role, device and requirements; None if it can."""
    if role not in worker.roles:
        return f"does not take the role {role}"
    if device_id is not None and worker.device_id != device_id:
        return "serves another device"
    offered = Catalogue.model_validate(worker.catalogue)
    if (missing := _missing_name(offered, requirements)) is not None:
        return missing
    path = requirements.get("data_path")
    if path is not None and not _may_hold(offered.data_roots, PurePosixPath(path)):
        return f"has no data root above {path}"
    if requirements.get("imports_onnx") and not offered.imports_onnx:
        return "cannot import ONNX files"
    if (name := requirements.get("backend")) is None:
        return None
    if name == "null" and not worker.allow_null:
        return "was not started with --allow-null"
    backend = next((one for one in offered.backends if one.name == name), None)
    return f"does not offer the backend {name}" if backend is None else _shortfall(backend, requirements)


def _may_hold(roots: Sequence[str], path: PurePosixPath) -> bool:
    """Whether a path may lie below a root; a relative one is looked for below each."""
    return any(not path.is_absolute() or path.is_relative_to(root) for root in roots)


def _missing_name(offered: Catalogue, requirements: Mapping[str, Any]) -> str | None:
    wanted = {
        "model": ([requirements.get("model"), requirements.get("rival")], {one.name for one in offered.models}),
        "data set": ([requirements.get("dataset")], {one.name for one in offered.datasets}),
        "criterion": (requirements.get("criteria", []), {one.name for one in offered.criteria}),
    }
    for kind, (names, known) in wanted.items():
        for name in names:
            if name is not None and name not in known:
                return f"does not offer the {kind} {name}"
    return None


def _shortfall(backend: BackendInfo, requirements: Mapping[str, Any]) -> str | None:
    precision = requirements.get("precision")
    if precision is not None and precision not in backend.precisions:
        return f"does not offer the precision {precision} with {backend.name}"
    for key, most in (("opset", backend.max_opset), ("threads", backend.max_threads)):
        if requirements.get(key) is not None and requirements[key] > most:
            return f"{backend.name} reaches {key} {most} there, not {requirements[key]}"
    return None
