"""The table of runtimes. Reading it imports none of them."""

from __future__ import annotations

import importlib

from ..errors import HarnessError
from .base import Backend

BACKENDS = {
    "null": "null:NullBackend",
    "onnxruntime": "onnxruntime:OnnxRuntimeBackend",
}


def load_backend(name: str) -> Backend:
    """Import the named runtime; raises HarnessError if it is unknown or not installed."""
    if name not in BACKENDS:
        known = ", ".join(sorted(BACKENDS))
        raise HarnessError(
            "bad_input",
            "unknown backend %r; known: %s" % (name, known),
            value=name,
            remedy="Use one of the known names.",
        )
    module, _, attribute = BACKENDS[name].partition(":")
    try:
        found = importlib.import_module("." + module, __package__)
    except ImportError as error:
        raise HarnessError(
            "bad_input",
            "backend %r is not installed here: %s" % (name, error),
            value=name,
            remedy="Install it into this worker's environment, or measure on a worker that offers it.",
        ) from error
    backend: Backend = getattr(found, attribute)()
    return backend
