"""Look into an ONNX file that may be hostile, in a process of its own that can do no harm.

The process reads the file from its standard input, may write no file, and has little memory and time. It never loads
external data (no path is ever given to the onnx package) and runs nothing of the network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from layerprune.api.errors import BadInput

from .limits import OnnxLimits, OnnxReport

REMEDY = "Send a single-file ONNX classifier: one float32 image input N x C x H x W, one output of logits."


def inspect_onnx(data: bytes, limits: OnnxLimits | None = None) -> OnnxReport:
    """Describe the file, or raise BadInput with the code "onnx_refused" and the reason."""
    limits = limits or OnnxLimits()
    if len(data) > limits.max_bytes:
        raise _refusal(f"it has {len(data)} bytes, {limits.max_bytes} are accepted")
    command = [sys.executable, "-m", "layerprune.inspection.onnx_file", limits.model_dump_json()]
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": paths}
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, timeout=limits.seconds, env=environment, cwd="/", check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _refusal(f"looking at it took more than {limits.seconds} s") from error
    lines = done.stdout.decode(errors="replace").splitlines()
    if done.returncode != 0 or not lines:
        raise _refusal("looking at it ended the process that did: it is broken or far too large")
    answer = json.loads(lines[-1])
    if "refused" in answer:
        raise _refusal(answer["refused"])
    return OnnxReport.model_validate(answer)


def _refusal(message: str) -> BadInput:
    return BadInput(f"the ONNX file is refused: {message}", field="model.onnx", code="onnx_refused", remedy=REMEDY)


def _confine(limits: OnnxLimits) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Read a file from the standard input and print what it is, or why it is refused, as one line of JSON."""
    limits = OnnxLimits.model_validate_json(sys.argv[1])
    _confine(limits)
    from .onnx_walk import Refused, describe

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
