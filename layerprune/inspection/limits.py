"""How much an uploaded ONNX file may ask for."""

from __future__ import annotations

from layerprune.api.wire import Wire

from .confinement import Limits


class OnnxLimits(Limits):
    """The defaults fit every classifier in use; the protobuf format itself ends at 2 GiB."""

    max_bytes: int = 1 << 30
    max_nodes: int = 100_000
    max_depth: int = 16
    max_elements: int = 1 << 29
    """Of one tensor, as its dimensions say, and of the input."""
    max_batch: int = 64
    domains: tuple[str, ...] = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
    memory_bytes: int = 8 << 30


class OnnxReport(Wire):
    """What a file says about itself, found acceptable."""

    opset: int
    ir_version: int
    producer: str
    nodes: int
    parameters: int
    operators: dict[str, int]
    input: str
    input_shape: list[int | None]
    """As declared; None where the dimension is dynamic."""
    output: str
    output_shape: list[int | None]
