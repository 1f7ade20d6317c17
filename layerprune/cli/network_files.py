"""Networks that commands write: ONNX, checked against PyTorch, and safetensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..api.errors import BadInput
from ..api.wire import Count, Wire

if TYPE_CHECKING:
    from torch import Tensor, fx

SUFFIXES = (".onnx", ".safetensors")
CHECKED_IMAGES = 64


class Cost(Wire):
    """What a network costs on paper, at batch 1."""

    params: Count
    macs: Count


def cost_of(graph: fx.GraphModule, example: Tensor) -> Cost:
    from ..structure.macs import count, count_params

    return Cost(params=count_params(graph), macs=count(graph, example))


def check_folder(path: Path) -> None:
    """Raise BadInput unless a file can be put there."""
    if not path.parent.is_dir() or path.is_dir():
        why = "is a folder" if path.is_dir() else f"lies in {path.parent}, which is no folder"
        raise BadInput(
            f"cannot write {path}: it {why}",
            field="output",
            value=str(path),
            remedy="Give a file in a folder that is there.",
        )


def check_outputs(paths: Sequence[Path]) -> None:
    """Raise BadInput, before any work is done, for a file that cannot be written."""
    for path in paths:
        if path.suffix not in SUFFIXES:
            raise BadInput(
                f"cannot write {path}: networks are written as {' or '.join(SUFFIXES)}",
                field="output",
                value=str(path),
                remedy="Give -o FILE.onnx or -o FILE.safetensors, or both.",
            )
        check_folder(path)


def write_network(graph: fx.GraphModule, paths: Sequence[Path], example: Tensor, images: Tensor) -> float | None:
    """Write the network; return how far ONNX Runtime is from PyTorch on the images, relative to the largest logit.

    None if no ONNX file was asked for. Raises ExportFailed and ExportMismatch.
    """
    from safetensors.torch import save_file

    from ..export import check_onnx, export_onnx

    difference = None
    for path in paths:
        if path.suffix == ".onnx":
            export_onnx(graph, example, path)
            _, difference = check_onnx(path, graph, images)
        else:
            # Tied weights are written twice: the format knows no views.
            save_file({name: tensor.clone().contiguous() for name, tensor in graph.state_dict().items()}, path)
    return difference
