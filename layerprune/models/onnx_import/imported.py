"""Read an ONNX file, rebuild it and compare the result with ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import fx

from layerprune.api.errors import BadInput
from layerprune.inspection.limits import OnnxLimits, OnnxReport
from layerprune.inspection.onnx_file import inspect_onnx

from .convert import convert

TOLERANCE = 1e-4
"""Largest accepted max|torch - onnx| / max|onnx| over the logits of random images."""
DEFAULT_SIZE = 224
OLDEST_OPSET = 7
"""From here on operands are broadcast as numpy does, and ONNX Runtime reads the file."""
_CHECKED_IMAGES = 3
_PASSING = ("Identity", "Cast", "Flatten", "Reshape", "Squeeze")


@dataclass(frozen=True)
class Imported:
    """A rebuilt classifier, in eval mode, and what is known of it."""

    model: fx.GraphModule
    classes: int
    channels: Literal[1, 3]
    size: int
    difference: float
    """From ONNX Runtime, relative to the largest logit."""
    notes: tuple[str, ...]


def load(data: bytes | Path, *, size: int | None = None, limits: OnnxLimits | None = None) -> Imported:
    """Rebuild an ONNX classifier; the same file gives the same names and weights every time.

    `size` is the height and width of the images, for files that leave it open (default 224). Raises BadInput: see
    `inspect_onnx` and `convert`, and with the code "output_mismatch" if ONNX Runtime sees something else in the file.
    """
    content = data.read_bytes() if isinstance(data, Path) else data
    report = inspect_onnx(content, limits)
    if report.opset < OLDEST_OPSET:
        raise _refusal(f"its opset is {report.opset}; {OLDEST_OPSET} is the oldest that is read", "Export it anew.")
    model = onnx.load_model_from_string(content)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    image = image_of(report, size)
    notes = [*_notes(report), *_cut_softmax_(model)]
    graph = convert(model, (image.channels, image.size, image.size), channels_last=image.channels_last)
    images = torch.randn(
        _CHECKED_IMAGES, image.channels, image.size, image.size, generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        logits = graph(images).numpy()
    difference = _compare(model, report, images.numpy(), logits, channels_last=image.channels_last)
    if logits.shape[1] < 2:
        raise _refusal("it has one output value; a classifier has one for each of at least two classes")
    return Imported(graph, logits.shape[1], image.channels, image.size, difference, tuple(notes))


@dataclass(frozen=True)
class Image:
    """What the file takes: square images of so many channels, which may come last."""

    channels: Literal[1, 3]
    size: int
    channels_last: bool


def image_of(report: OnnxReport, size: int | None, *, default: int = DEFAULT_SIZE) -> Image:
    """The images that a file takes: of `size`, or else `default`, where it leaves the size open. Raises BadInput."""
    batch, *image = report.input_shape
    if batch not in (None, 1):
        raise _refusal(f"its batch is fixed at {batch}", "Export it with a batch of 1 or, better, a dynamic one.")
    channels_last = image[0] not in (1, 3) and image[2] in (1, 3)
    if channels_last:
        image = [image[2], image[0], image[1]]
    channels = 3 if image[0] is None else image[0]
    if channels not in (1, 3):
        raise _refusal(f"its input has {channels} channels (shape {report.input_shape}); images have 1 or 3")
    stated = {side for side in image[1:] if side is not None}
    if len(stated) > 1:
        raise _refusal(f"its images are {image[1]} x {image[2]}; only square ones are supported")
    side = stated.pop() if stated else size or default
    if size not in (None, side):
        raise BadInput(
            f"the ONNX file takes images of {side} x {side} pixels, the preprocessing makes {size} x {size}",
            field="model.preprocess.size",
            value=size,
            remedy=f"Set model.preprocess.size to {side}, or export the network with that size or a dynamic one.",
        )
    return Image(1 if channels == 1 else 3, side, channels_last)


def _notes(report: OnnxReport) -> list[str]:
    norms = sum(report.operators.get(name, 0) for name in ("BatchNormalization", "InstanceNormalization"))
    if report.operators.get("Conv", 0) and not norms:
        return ["batch norm, if there was any, has been folded into the convolutions by the exporter"]
    return []


def _cut_softmax_(model: onnx.ModelProto) -> list[str]:
    """Let the graph end before a final softmax: training and comparing need logits."""
    producers = {name: node for node in model.graph.node for name in node.output}
    output = model.graph.output[0]
    node = producers.get(output.name)
    while node is not None and node.op_type in _PASSING:
        node = producers.get(node.input[0])
    if node is None or node.op_type not in ("Softmax", "LogSoftmax"):
        return []
    output.CopyFrom(onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, None))
    return [f"the final {node.op_type} ({node.name or node.output[0]}) was cut off: the network answers with logits"]


def _compare(
    model: onnx.ModelProto,
    report: OnnxReport,
    images: NDArray[np.float32],
    logits: NDArray[np.float32],
    *,
    channels_last: bool,
) -> float:
    """Return the largest difference from ONNX Runtime, one image at a time and, if the file takes it, all at once."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    inputs = np.ascontiguousarray(images.transpose(0, 2, 3, 1)) if channels_last else images
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        single = [session.run(None, {report.input: image[None]})[0].reshape(1, -1) for image in inputs]
    except Exception as error:  # the runtime has no base class of its own for what it raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _refusal(f"ONNX Runtime cannot run it: {reason}") from error
    answers = [np.concatenate(single)]
    if report.input_shape[0] is None:
        try:
            answers.append(session.run(None, {report.input: inputs})[0].reshape(len(images), -1))
        except Exception as error:  # as above; the file says that it takes a batch, and does not
            reason = str(error).splitlines()[0]
            raise _refusal(
                f"it says that its batch is dynamic, but ONNX Runtime runs one image only: {reason}",
                "Export it with a batch fixed at 1, or with one that is dynamic throughout.",
            ) from error
    scale = max(float(np.abs(answers[0]).max()), float(np.finfo(np.float32).tiny))
    difference = max(float(np.abs(answer - logits).max()) for answer in answers) / scale
    if not difference <= TOLERANCE:  # written so that NaN is a mismatch
        raise BadInput(
            f"the network rebuilt from the ONNX file differs from ONNX Runtime by {difference:.1e} of the largest"
            f" logit; {TOLERANCE:.0e} is accepted",
            field="model.onnx",
            value=None if np.isnan(difference) else difference,
            code="output_mismatch",
            remedy="Check that the file holds no NaN and was exported in evaluation mode; if so, report its operators.",
        )
    return difference


def _refusal(message: str, remedy: str = "Send a classifier of square images with one output of logits.") -> BadInput:
    return BadInput(f"the ONNX file is refused: {message}", field="model.onnx", code="onnx_refused", remedy=remedy)
