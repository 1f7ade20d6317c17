"""In which form a network's file holds a precision, and devices that are particular about files."""

from __future__ import annotations

from pydantic import Field

from .wire import Artifact, Wire

TENSORRT = ("tensorrt", "tensorrt-rtx", "onnxruntime-tensorrt", "onnxruntime-tensorrt-rtx")
"""Backends that parse a network with TensorRT, and refuse what that refuses."""
FP16, INT8, INT8_SYMMETRIC = "fp16", "int8", "int8-symmetric"


def form_of(backend: str, precision: str) -> str | None:
    """The form of the file that a backend measures in a precision; None for the float32 file.

    Both forms of int8 hold QuantizeLinear and DequantizeLinear. TensorRT takes zero points of 0 only, and fuses
    activations into what comes before them; a processor's integer kernels gain from unsigned activations.
    """
    if precision == "int8":
        return INT8_SYMMETRIC if backend in TENSORRT else INT8
    return FP16 if precision == "fp16" else None


class Prepared(Wire):
    """A trained network in one form, besides its float32 file."""

    onnx: Artifact
    reference_outputs: Artifact = Field(
        description="float32 .npy: fp16 must say what float32 says, int8 what its own file says, computed literally"
    )
    tool: str = Field(description="what wrote the file, and from how many calibration images")


class TensorRTTarget(Wire):
    """A device of the job that runs TensorRT: what that refuses is found out before anything is trained."""

    device: str
    backend: str
    version: str | None = Field(default=None, description="of the runtime on the device, where it is known")
    capability: str | None = Field(default=None, description="compute capability of the GPU, such as '8.6'")
    precisions: list[str] = Field(min_length=1)
