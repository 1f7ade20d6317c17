"""Refuse runtimes, precisions, thread counts and settings that a device of the job does not have."""

from __future__ import annotations

from collections.abc import Sequence

from layerprune.api.catalogue import BackendInfo
from layerprune.api.errors import BadInput, UnknownName
from layerprune.api.jobs import JobRequest


def check_runtimes(request: JobRequest, device: str, offered: Sequence[BackendInfo] | None) -> None:
    """Check what the job wants of a device against what its worker says; nothing is known if that is None.

    Raises UnknownName for a runtime, precision or setting that is not there, BadInput for too many threads.
    """
    wanted = request.measure
    for name in wanted.settings:
        if name not in wanted.backend_list():
            raise UnknownName("backend", name, wanted.backend_list(), field=f"measure.settings.{name}")
    if offered is None:
        return
    chosen = []
    for i, name in enumerate(wanted.backend_list()):
        field = f"measure.backends.{i}" if wanted.backends else "measure.backend"
        backend = next((one for one in offered if one.name == name), None)
        if backend is None:
            raise UnknownName("backend", name, [one.name for one in offered], field=field)
        chosen.append(backend)
        _check_backend(request, device, backend)
    for i, precision in enumerate(wanted.precisions):
        if not any(precision in backend.precisions for backend in chosen):
            known = sorted({known for backend in chosen for known in backend.precisions})
            raise UnknownName("precision", precision, known, field=f"measure.precisions.{i}")


def _check_backend(request: JobRequest, device: str, backend: BackendInfo) -> None:
    wanted = request.measure
    if not set(wanted.precisions) & set(backend.precisions):
        raise UnknownName("precision", wanted.precisions[0], backend.precisions, field="measure.precisions.0")
    for i, threads in enumerate(wanted.threads):
        if threads > backend.max_threads:
            origin = f": {backend.threads_limited_by}" if backend.threads_limited_by else ""
            raise BadInput(
                f"{threads} threads are more than {device} offers, which is {backend.max_threads}{origin}",
                field=f"measure.threads.{i}",
                value=threads,
                remedy=f"Ask for at most {backend.max_threads}, or leave the device out.",
            )
    for name in wanted.settings.get(backend.name, {}):
        if backend.settings is not None and name not in backend.settings:
            raise UnknownName("setting", name, backend.settings, field=f"measure.settings.{backend.name}.{name}")
