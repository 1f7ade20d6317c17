"""The table of runtimes. Reading it imports none of them."""

from __future__ import annotations

import importlib

from ..errors import HarnessError
from .base import Backend

BACKENDS = {
    "null": "null:NullBackend",
    "onnxruntime": "onnxruntime:OnnxRuntimeBackend",
    "onnxruntime-cuda": "onnxruntime_gpu:CudaBackend",
    "onnxruntime-tensorrt": "onnxruntime_gpu:TensorRtBackend",
    "onnxruntime-tensorrt-rtx": "onnxruntime_gpu:TensorRtRtxBackend",
    "openvino": "openvino:OpenVinoBackend",
    "tensorrt": "tensorrt:TensorRtBackend",
    "tensorrt-rtx": "tensorrt:TensorRtRtxBackend",
    "torch": "torch:TorchBackend",
    "torch-compile": "torch:TorchCompileBackend",
    "torch-cuda": "torch_cuda:TorchCudaBackend",
}

PROGRAMS = ("torch", "torch-compile", "torch-cuda")
"""Runtimes that read no ONNX: their files are programs of torch.export, which the worker makes from ONNX beforehand."""


def load_backend(name: str) -> Backend:
    """Import the named runtime; raises HarnessError if it is unknown, not installed or lacks its hardware."""
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
        backend: Backend = getattr(found, attribute)()
    except ImportError as error:
        raise HarnessError(
            "bad_input",
            "backend %r is not installed here: %s" % (name, error),
            value=name,
            remedy="Install it into the Python that measures here, or measure on a worker that offers it.",
        ) from error
    return backend
