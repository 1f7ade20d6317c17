"""`python -m workers.programs`: turn ONNX files into programs of torch.export, for the runtimes that read no ONNX.

One JSON object on standard input, `{"shape": [C, H, W], "files": [[source, target], ...]}`; the last line of standard
output is `{}`, or what went wrong: `{"code": ..., "message": ..., "value": ..., "remedy": ...}`.

The network is rebuilt as for pruning (`layerprune.models.onnx_import`), so that PyTorch times exactly the graph that
the other runtimes are given, batch norm folded. The batch of the program is dynamic.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnx.inliner
import torch

from layerprune.api.errors import LayerPruneError
from layerprune.inspection.onnx_file import inspect_onnx
from layerprune.models.onnx_import import convert

MAX_BATCH = 1024


def write_program(source: Path, target: Path, shape: Sequence[int]) -> None:
    """Write the network of an ONNX file as a program for images of `shape` (C, H, W).

    Raises LayerPruneError with the code `parse_rejected` if it cannot be read, rebuilt or exported.
    """
    content = source.read_bytes()
    try:
        inspect_onnx(content)
        model = onnx.load_model_from_string(content)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        network = convert(model, tuple(shape), channels_last=False)
    except LayerPruneError as error:
        raise _rejected(error.message, error.remedy) from error
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(
                network, (torch.zeros(2, *shape),), dynamic_shapes=({0: batch},), strict=False
            )
            torch.export.save(program, target)
    except Exception as error:  # torch.export raises nearly every class that Python has
        text = " ".join(str(error).split())[:2000]
        raise _rejected(f"torch.export cannot write it as a program: {type(error).__name__}: {text}", None) from error


def _rejected(why: str, remedy: str | None) -> LayerPruneError:
    return LayerPruneError(
        f"the network cannot be measured with PyTorch: {why}",
        code="parse_rejected",
        remedy=remedy or "Measure it with a backend that reads ONNX.",
    )


def main() -> int:
    asked = json.load(sys.stdin)
    try:
        for source, target in asked["files"]:
            write_program(Path(source), Path(target), asked["shape"])
    except LayerPruneError as error:
        told = {"code": error.code, "message": error.message, "value": error.value, "remedy": error.remedy}
        print(json.dumps(told, default=str))  # noqa: T201
        return 1
    print("{}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
