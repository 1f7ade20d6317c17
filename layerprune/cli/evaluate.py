"""The `evaluate` command."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from ..api.errors import BadInput
from ..api.wire import Count, Proportion, Wire
from .given import Args, Classes, DataRoot, Given, Images, Model, PlanFile, PreprocessFile, Weights
from .material import Work, opened
from .options import Json
from .output import console, print_json

if TYPE_CHECKING:
    from ..data.feed import Feed

_BATCH = 256


class Split(str, Enum):
    """Which images are shown."""

    test = "test"
    validation = "validation"


class EvaluateReport(Wire):
    """How many images were told right, by what; the interval is at 95 %."""

    model: str
    data: str
    split: str
    images: Count
    correct: Count
    accuracy: float
    ci_low: float
    ci_high: float
    runtime: str
    notes: list[str]


def evaluate(
    model: Model,
    data: Images,
    plan: PlanFile = None,
    split: Annotated[Split, typer.Option(help="Which images to show.")] = Split.test,
    weights: Weights = None,
    classes: Classes = None,
    args: Args = None,
    preprocess: PreprocessFile = None,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Count how many images a network tells right; an ONNX file runs in ONNX Runtime, unless a plan is applied to it.

    Example: `layerprune evaluate out.onnx --data digits`
    """
    from ..stats import wilson
    from .progress import bar

    with opened(Given(model, data, weights, classes, args or (), None, preprocess, data_root), plan) as work:
        material = work.images("evaluating")
        feed = material.test if split is Split.test else material.validation
        with bar("evaluating"):
            if work.spec.onnx is not None and plan is None:
                found, runtime = _by_onnx_runtime(work, feed, classes=len(material.dataset.classes))
            else:
                found, runtime = _by_torch(work, feed)
        notes = work.notes
    accuracy, low, high = wilson(found.correct, found.n)
    report = EvaluateReport(
        model=model,
        data=str(data),
        split=split.value,
        images=found.n,
        correct=found.correct,
        accuracy=accuracy,
        ci_low=low,
        ci_high=high,
        runtime=runtime,
        notes=notes,
    )
    if as_json:
        print_json(report)
        return
    console().print(f"{model} on the {split.value} images of {data}: {accuracy_text(found)}, in {runtime}")
    for note in notes:
        console().print(f"Note: {note}", style="dim", soft_wrap=True)


def accuracy_text(found: Proportion) -> str:
    """Say an accuracy with its counts and its interval at 95 %."""
    from ..stats import wilson

    accuracy, low, high = wilson(found.correct, found.n)
    return f"{accuracy:.2%} ({found.correct} of {found.n}; 95 %: {low:.2%} to {high:.2%})"


def _by_torch(work: Work, feed: Feed) -> tuple[Proportion, str]:
    import torch

    from ..evaluate import evaluate
    from ..training.group import ALONE

    network = work.pruned()
    if not work.is_trained and work.plan is None:
        work.notes.append("the network has random weights; give trained ones: --weights")
    return evaluate(network.to(ALONE.device), feed)[0], f"torch {torch.__version__.partition('+')[0]}"


def _by_onnx_runtime(work: Work, feed: Feed, *, classes: int) -> tuple[Proportion, str]:
    """Show the images as the file takes them: one by one where its batch is fixed, channels last if it says so."""
    import numpy as np
    import onnxruntime

    from ..models.onnx_import import image_of

    report, path = work.onnx_report, work.folder / "inputs" / str(work.spec.onnx)
    assert report is not None
    image = image_of(report, feed.preprocess.size)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has no base class of its own for what it raises
        raise BadInput(
            f"ONNX Runtime cannot run {work.given.model}: {str(error).splitlines()[0]}",
            field="model",
            value=work.given.model,
            remedy="Export the network with operators and an opset that this version of ONNX Runtime has.",
        ) from error
    correct = 0
    for images, labels in feed.batches(1 if report.input_shape[0] == 1 else _BATCH):
        pixels = images.numpy()
        answer = session.run(None, {report.input: pixels.transpose(0, 2, 3, 1) if image.channels_last else pixels})[0]
        logits = np.asarray(answer).reshape(len(labels), -1)
        if logits.shape[1] != classes:
            raise BadInput(
                f"the ONNX file has {logits.shape[1]} outputs, {work.given.data} has {classes} classes",
                field="model",
                value=work.given.model,
                remedy="Give the images that the network was trained for.",
            )
        if not np.isfinite(logits).all():
            raise BadInput(
                "the network's outputs are not finite",
                field="model",
                value=work.given.model,
                code="diverged",
                remedy="Look for NaN or infinity in its weights.",
            )
        correct += int((logits.argmax(1) == labels.numpy()).sum())
    return Proportion(correct=correct, n=len(feed)), f"onnxruntime {onnxruntime.__version__}"
