"""Put a lower precision into an ONNX file itself, for the runtimes that take it from there.

A strongly typed TensorRT computes in the types that the file names, and other runtimes have integer kernels for what
stands between QuantizeLinear and DequantizeLinear (Q/DQ). Inputs and outputs stay float32. The forms are those of
layerprune.api.precision; ONNX Runtime's own tools write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.quant_utils import add_pre_process_metadata
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor

from layerprune.api.errors import LayerPruneError
from layerprune.api.precision import FP16, INT8, INT8_SYMMETRIC

from .data.feed import Feed

CALIBRATION_IMAGES = 128
"""So many images of the calibration split, the first ones, say how far activations reach."""
_BATCH = 32
_WEIGHTED = ["Conv", "Gemm", "MatMul"]
_QUANTISING: Mapping[str, Mapping[str, Any]] = {
    # Unsigned activations between all operators with integer kernels. Weights take 7 bits: with 8 the sums of two
    # products overflow 16 bits on x86 processors without VNNI instructions, and the network says something else there.
    INT8: {"activation_type": QuantType.QUInt8, "reduce_range": True},
    # NVIDIA's placement: before whatever has weights and nothing after it, so that activations are fused; biases in
    # float32. Q/DQ pairs around float32 weights are what every TensorRT from 8 on reads.
    INT8_SYMMETRIC: {
        "activation_type": QuantType.QInt8,
        "op_types_to_quantize": _WEIGHTED,
        "extra_options": {
            "ActivationSymmetric": True,
            "AddQDQPairToWeight": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": _WEIGHTED,
        },
    },
}
Images = NDArray[np.float32]


class PreparationFailed(LayerPruneError):
    """The network could not be written in this form."""

    code = "build_failed"
    default_remedy = "Leave this precision out of measure.precisions, or use another network."


def prepare(source: Path, target: Path, form: str, calibration: Feed) -> str:
    """Write the float32 network `source` as `target` in the form, and say how it was done.

    Only int8 looks at images: the first `CALIBRATION_IMAGES` of the calibration split. Raises PreparationFailed.
    """
    try:
        return _write_fp16(source, target) if form == FP16 else _write_int8(source, target, form, calibration)
    # The converters raise whatever comes up, from ValueError to classes of ONNX Runtime's own.
    except Exception as error:
        raise PreparationFailed(f"the network cannot be written in {form}: {error}", value=form) from error


def reference_outputs(path: Path, images: Tensor) -> Images:
    """Return the logits (float32 N x classes) that a file stands for, computed literally.

    Without optimisation ONNX Runtime computes what QuantizeLinear and DequantizeLinear say in float32, the same on
    every processor; integer kernels round otherwise.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    answers = [session.run(None, {name: batch.numpy()})[0] for batch in torch.split(images, _BATCH)]
    return np.concatenate(answers).astype(np.float32)


def _write_fp16(source: Path, target: Path) -> str:
    """Weights and activations become float16 (Microsoft's converter, the successor of onnxconverter-common's)."""
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)
    return f"float16 by onnxruntime {onnxruntime.__version__}"


def _write_int8(source: Path, target: Path, form: str, calibration: Feed) -> str:
    model = onnx.load(source)
    # Batch norm is folded at export, which is what the converter would ask for.
    add_pre_process_metadata(model)
    images = calibration.first(CALIBRATION_IMAGES)
    quantize_static(
        model,
        target,
        _Reader(model.graph.input[0].name, images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        **_QUANTISING[form],
    )
    return f"{form} Q/DQ by onnxruntime {onnxruntime.__version__} from {len(images)} calibration images"


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, name: str, images: Tensor) -> None:
        self._batches = iter(torch.split(images, _BATCH))
        self._name = name

    def get_next(self) -> dict[str, Images] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch.numpy()}
