"""Look into an ONNX file that may be hostile, in a process of its own that can do no harm.

The process reads the file from its standard input, may write no file, and has little memory and time. It never loads
external data (no path is ever given to the onnx package) and runs nothing of the network.
"""

from __future__ import annotations

import json
import sys

from layerprune.api.errors import BadInput

from .confinement import Refused, confine, look
from .limits import OnnxLimits, OnnxReport

REMEDY = "Send a single-file ONNX classifier: one float32 image input N x C x H x W, one output of logits."


def inspect_onnx(data: bytes, limits: OnnxLimits | None = None) -> OnnxReport:
    """Describe the file, or raise BadInput with the code "onnx_refused" and the reason."""
    limits = limits or OnnxLimits()
    if len(data) > limits.max_bytes:
        raise _refusal(f"it has {len(data)} bytes, {limits.max_bytes} are accepted")
    try:
        found = look("layerprune.inspection.onnx_file", limits, data=data)
    except Refused as refused:
        raise _refusal(str(refused)) from refused
    return OnnxReport.model_validate(found)


def _refusal(message: str) -> BadInput:
    return BadInput(f"the ONNX file is refused: {message}", field="model.onnx", code="onnx_refused", remedy=REMEDY)


def main() -> None:
    """Read a file from the standard input and print what it is, or why it is refused, as one line of JSON."""
    limits = OnnxLimits.model_validate_json(sys.argv[1])
    confine(limits)
    from .onnx_walk import describe

    try:
        answer = describe(sys.stdin.buffer.read(limits.max_bytes + 1), limits).model_dump_json()
    except Refused as refused:
        answer = json.dumps({"refused": str(refused)})
    except RecursionError:
        answer = json.dumps({"refused": "it is nested too deeply"})
    except MemoryError:
        answer = json.dumps({"refused": "it takes more memory than is allowed"})
    sys.stdout.write(answer + "\n")


if __name__ == "__main__":
    main()
