"""What scoring and building share: the data as the network sees it, and a trained network as files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

# Needed sooner or later (torch._dynamo, over a second of imports, by the first convolution on a traced graph): imported
# here they are there before a build's process is forked, not once per build.
import onnx  # noqa: F401
import PIL.Image  # noqa: F401
import sklearn.datasets
import sklearn.model_selection  # noqa: F401
import torch
import torch._dynamo  # noqa: F401
from safetensors.torch import save_file
from torch import fx, nn

from layerprune.api.jobs import Progress
from layerprune.api.precision import FP16, Prepared
from layerprune.api.tasks import TrainedNetwork
from layerprune.api.training import Accuracies, EpochRecord
from layerprune.api.wire import Proportion
from layerprune.data.material import Material
from layerprune.evaluate import evaluate
from layerprune.export import check_onnx, export_onnx
from layerprune.precision import prepare, reference_outputs
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.macs import count, count_params
from layerprune.training.recipe import Recipe

CHECKED_IMAGES = 64
PACK_FORMAT = "lp-eval-1"
_PACK_BATCH = 256
Report = Callable[[Progress], None]
Checkpoint = Callable[[], None]


@dataclass
class Stopwatch:
    """Seconds by phase, without those in which a checkpoint blocked."""

    seconds: dict[str, float] = field(default_factory=dict)
    _waited: float = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.monotonic() - self._waited
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - self._waited - started

    def excluding(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint with its waiting kept out of the phases."""

        def watched() -> None:
            before = time.monotonic()
            checkpoint()
            self._waited += time.monotonic() - before

        return watched


def judge(model: nn.Module, material: Material) -> tuple[Proportion, Proportion]:
    """Return the accuracy on validation and on test."""
    return evaluate(model, material.validation)[0], evaluate(model, material.test)[0]


def write_network(
    graph: fx.GraphModule,
    description: dict[str, Any],
    material: Material,
    *,
    folder: Path,
    name: str,
    validation: Accuracies,
    test: Accuracies,
    curve: list[EpochRecord],
    recipe: Recipe,
    forms: Sequence[str],
    opset: int,
    stopwatch: Stopwatch,
) -> TrainedNetwork:
    """Write the network as `name`.onnx, .safetensors and so on into the folder, and check the ONNX on real images.

    `description` says as JSON what it is: a plan, or a rival. It is also written in each of the forms.
    """
    with stopwatch.phase("exporting"):
        save_file(
            {key: value.contiguous() for key, value in graph.state_dict().items()}, folder / f"{name}.safetensors"
        )
        written = export_onnx(graph, material.example, folder / f"{name}.onnx", opset=opset)
        reference, difference = check_onnx(folder / f"{name}.onnx", graph, material.pack.first(CHECKED_IMAGES))
        np.save(folder / f"{name}.reference.npy", reference)
        _write_json(folder / f"{name}.plan.json", description)
        _write_json(folder / f"{name}.preprocess.json", material.preprocess.model_dump(mode="json"))
        prepared = {form: _prepare(folder, name, form, material) for form in forms}
    return TrainedNetwork(
        onnx=f"{name}.onnx",
        weights=f"{name}.safetensors",
        plan=f"{name}.plan.json",
        preprocess=material.preprocess,
        preprocess_file=f"{name}.preprocess.json",
        reference_outputs=f"{name}.reference.npy",
        forms=prepared,
        architecture=architecture_hash(graph),
        params=count_params(graph),
        macs=count(graph, material.example),
        opset=written.opset,
        exporter=written.exporter,
        export_max_relative_difference=difference,
        validation=validation,
        test=test,
        curve=curve,
        recipe=recipe.describe(),
        seconds=dict(stopwatch.seconds),
    )


def _prepare(folder: Path, name: str, form: str, material: Material) -> Prepared:
    """Write the network in one form; int8 is a network of its own, and fp16 has to say what float32 says."""
    onnx_file, reference = f"{name}.{form}.onnx", f"{name}.reference.npy"
    tool = prepare(folder / f"{name}.onnx", folder / onnx_file, form, material.calibration)
    if form != FP16:
        reference = f"{name}.{form}.reference.npy"
        np.save(folder / reference, reference_outputs(folder / onnx_file, material.pack.first(CHECKED_IMAGES)))
    return Prepared(onnx=onnx_file, reference_outputs=reference, tool=tool)


def write_evaluation_pack(path: Path, material: Material) -> int:
    """Write the test images (of very many a part, see Material.pack) as one file and return how many there are.

    A line of JSON (format, n, height, width, channels, classes), then the resized pixels as raw uint8 N x H x W x C,
    then the labels as little-endian uint16; both in the stored order of the test split.
    """
    feed = material.pack
    _, channels, height, width = feed.pixels(torch.arange(1)).shape
    header = {
        "format": PACK_FORMAT,
        "n": len(feed),
        "height": height,
        "width": width,
        "channels": channels,
        "classes": list(material.dataset.classes),
    }
    with path.open("wb") as file:
        file.write(json.dumps(header).encode() + b"\n")
        for pixels in feed.read(torch.split(torch.arange(len(feed)), _PACK_BATCH)):
            file.write(pixels.permute(0, 2, 3, 1).contiguous().numpy().tobytes())
        file.write(feed.labels.numpy().astype("<u2").tobytes())
    return len(feed)


def scaled(report: Report, start: float, end: float) -> Report:
    """Return a report that maps its fractions into a part of the whole task."""

    def forward(progress: Progress) -> None:
        fraction = start + (end - start) * (progress.fraction or 0.0)
        report(progress.model_copy(update={"fraction": min(1.0, fraction)}))

    return forward


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
