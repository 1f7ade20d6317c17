"""ONNX export and its check against PyTorch on real images.

Everything goes through PyTorch's TorchScript-based exporter: base, variants and the untrained architectures of a sweep,
so that no comparison ever mixes exporters. On small networks it takes a fraction of the time of the torch.export-based
one, folds batch norm just as well, and writes the opsets that older runtimes on edge devices still read: 17, or the
lower one that a job's devices ask for.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.onnx import symbolic_helper, symbolic_opset9, utils

from layerprune.api.errors import LayerPruneError

from .evaluate import logits

OPSET = 17
OPSETS = range(9, 18)
"""What can be asked for; the operators of earlier ones are others."""
LOWERED = "A device of the job reads no newer opset: leave it out, or update its runtime."
EXPORTER = f"torch.onnx TorchScript {torch.__version__.partition('+')[0]}"
TOLERANCE = 1e-4
"""Largest accepted max|onnx - torch| / max|torch| over the logits of the checked images, in float32."""


class ExportFailed(LayerPruneError):
    """PyTorch could not write this network as ONNX."""

    code = "build_failed"
    default_remedy = "Use operators that torch.onnx knows at the opset in the message, or another network."


class ExportMismatch(LayerPruneError):
    """The exported network does not compute what the PyTorch network computes."""

    code = "output_mismatch"
    default_remedy = "Look for an operator that behaves differently in ONNX Runtime; do not measure this file."


@dataclass(frozen=True)
class ExportReport:
    """By what a file was written."""

    exporter: str
    opset: int


def _adaptive_average(graph: Any, images: Any, output_size: Any) -> Any:
    """Average pooling to any size, as two matrix products where its windows overlap (VGG on small images).

    The exporter itself knows only sizes that divide the input's.
    """
    inputs = symbolic_helper._get_tensor_sizes(images)[2:]
    outputs = symbolic_helper._parse_arg(output_size, "is")
    tiled = all(size is None or size % parts == 0 for size, parts in zip(inputs, outputs, strict=True))
    if tiled or outputs == [1, 1]:
        return symbolic_opset9.adaptive_avg_pool2d(graph, images, output_size)  # type: ignore[attr-defined]
    rows, columns = (_averaging(size, parts) for size, parts in zip(inputs, outputs, strict=True))
    by_rows = graph.op("MatMul", graph.op("Constant", value_t=rows), images)
    return graph.op("MatMul", by_rows, graph.op("Constant", value_t=columns.T.contiguous()))


def _averaging(size: int, parts: int) -> Tensor:
    """The matrix (parts x size) that takes the mean of each of torch's adaptive windows."""
    return functional.adaptive_avg_pool1d(torch.eye(size), parts).T.contiguous()


def export_onnx(model: nn.Module, example: Tensor, path: Path, *, opset: int = OPSET) -> ExportReport:
    """Write the model, in eval mode, as one ONNX file with its weights inside.

    The input is called "input" (float32 N x C x H x W), the output "logits"; N is the dynamic axis "batch". Batch norm
    is folded into the convolutions. Raises ExportFailed, for instance where an operator is newer than the opset.
    """
    if opset not in OPSETS:
        raise ExportFailed(
            f"networks cannot be exported for opset {opset}; it can be {OPSETS[0]} to {OPSETS[-1]}",
            value=opset,
            remedy="Leave out the device whose runtime reads no newer opset, or update that runtime.",
        )
    try:
        with warnings.catch_warnings():
            for message in ("You are using the legacy TorchScript-based ONNX export", "The feature will be removed"):
                warnings.filterwarnings("ignore", message, DeprecationWarning)
            # Of a slice with steps: the runtime folds it when it loads the file.
            warnings.filterwarnings("ignore", "Constant folding - Only steps=1", UserWarning)
            # About sizes that become constants; check_onnx runs the file on two batch sizes.
            warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
            utils.register_custom_op_symbolic("aten::adaptive_avg_pool2d", _adaptive_average, opset)
            torch.onnx.export(
                model,
                (example,),
                path,
                dynamo=False,
                opset_version=opset,
                input_names=["input"],
                output_names=["logits"],
                dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError, TypeError) as error:
        remedy = "" if opset == OPSET else f"{LOWERED} {ExportFailed.default_remedy}"
        raise ExportFailed(f"the export to ONNX (opset {opset}) failed: {error}", remedy=remedy) from error
    return ExportReport(exporter=EXPORTER, opset=opset)


def check_onnx(path: Path, model: nn.Module, images: Tensor) -> tuple[NDArray[np.float32], float]:
    """Compare the file in ONNX Runtime with the model on real images, as one batch and the first alone.

    Returns the model's logits (float32 N x classes) and max|onnx - torch| / max|torch|. Raises ExportMismatch if that
    is over TOLERANCE or not finite.
    """
    reference = logits(model, images).numpy().astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = images.numpy()
    together = session.run(["logits"], {"input": inputs})[0]
    first = session.run(["logits"], {"input": inputs[:1]})[0]
    difference = max(float(np.abs(outputs - reference[: len(outputs)]).max()) for outputs in (together, first))
    relative = difference / max(float(np.abs(reference).max()), float(np.finfo(np.float32).tiny))
    if not relative <= TOLERANCE:  # written so that NaN is a mismatch
        raise ExportMismatch(
            f"the ONNX file differs from PyTorch by {relative:.1e} of the largest logit; {TOLERANCE:.0e} is accepted",
            value=None if np.isnan(relative) else relative,
        )
    return reference, relative
