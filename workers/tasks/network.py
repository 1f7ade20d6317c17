"""What scoring and building share: the data as the network sees it, and a trained network as files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

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
from torch import Tensor, fx, nn

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.api.jobs import Progress
from layerprune.api.network import ModelSpec, Preprocess
from layerprune.api.tasks import Accuracies, EpochRecord, TrainedNetwork
from layerprune.api.wire import Proportion
from layerprune.data import Dataset, Images, load_dataset, normalise, preprocess_images
from layerprune.evaluate import evaluate
from layerprune.export import check_onnx, export_onnx
from layerprune.models import build
from layerprune.structure.architecture import architecture_hash
from layerprune.structure.macs import count, count_params
from layerprune.structure.plan import Plan

CHECKED_IMAGES = 64
PACK_FORMAT = "lp-eval-1"
Report = Callable[[Progress], None]
Checkpoint = Callable[[], None]
Labelled = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Material:
    """A data set as the network's input: normalised images (float N x C x H x W) and labels of the four splits."""

    dataset: Dataset
    preprocess: Preprocess
    train: Labelled
    calibration: Labelled
    validation: Labelled
    test: Labelled
    test_pixels: Images

    @property
    def example(self) -> Tensor:
        """Two real images, enough to trace and to export with a dynamic batch."""
        return self.test[0][:2]


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


def load_material(model: ModelSpec, dataset: DatasetSpec) -> Material:
    """Load the data set and prepare it for the model: by the job's preprocessing, else by the data set's own."""
    data = load_dataset(dataset.name)
    preprocess = model.preprocess or data.default_preprocess(channels=1 if model.args.get("in_channels") == 1 else 3)
    pixels = {
        name: preprocess_images(split.images, preprocess)
        for name, split in (
            ("train", data.train),
            ("calibration", data.calibration),
            ("validation", data.validation),
            ("test", data.test),
        )
    }

    def labelled(name: str) -> Labelled:
        return normalise(pixels[name], preprocess), torch.from_numpy(getattr(data, name).labels)

    return Material(
        dataset=data,
        preprocess=preprocess.model_copy(update={"classes": list(data.classes)}),
        train=labelled("train"),
        calibration=labelled("calibration"),
        validation=labelled("validation"),
        test=labelled("test"),
        test_pixels=pixels["test"],
    )


def make_model(spec: ModelSpec, material: Material, *, seed: int) -> nn.Module:
    """Make the network with random weights for the data set's classes."""
    return build(spec.name, classes=len(material.dataset.classes), args=spec.args, seed=seed)


def judge(model: nn.Module, material: Material) -> tuple[Proportion, Proportion]:
    """Return the accuracy on validation and on test."""
    return evaluate(model, *material.validation)[0], evaluate(model, *material.test)[0]


def write_network(
    graph: fx.GraphModule,
    plan: Plan,
    material: Material,
    *,
    folder: Path,
    name: str,
    validation: Accuracies,
    test: Accuracies,
    curve: list[EpochRecord],
    stopwatch: Stopwatch,
) -> TrainedNetwork:
    """Write the network as `name`.onnx, .safetensors and so on into the folder, and check the ONNX on real images."""
    with stopwatch.phase("exporting"):
        save_file(
            {key: value.contiguous() for key, value in graph.state_dict().items()}, folder / f"{name}.safetensors"
        )
        written = export_onnx(graph, material.example, folder / f"{name}.onnx")
        reference, difference = check_onnx(folder / f"{name}.onnx", graph, material.test[0][:CHECKED_IMAGES])
        np.save(folder / f"{name}.reference.npy", reference)
        _write_json(folder / f"{name}.plan.json", plan.to_dict())
        _write_json(folder / f"{name}.preprocess.json", material.preprocess.model_dump(mode="json"))
    return TrainedNetwork(
        onnx=f"{name}.onnx",
        weights=f"{name}.safetensors",
        plan=f"{name}.plan.json",
        preprocess=material.preprocess,
        preprocess_file=f"{name}.preprocess.json",
        reference_outputs=f"{name}.reference.npy",
        architecture=architecture_hash(graph),
        params=count_params(graph),
        macs=count(graph, material.example),
        opset=written.opset,
        exporter=written.exporter,
        export_max_relative_difference=difference,
        validation=validation,
        test=test,
        curve=curve,
        seconds=dict(stopwatch.seconds),
    )


def write_evaluation_pack(path: Path, material: Material) -> int:
    """Write the test images as one file and return how many there are.

    A line of JSON (format, n, height, width, channels, classes), then the resized pixels as raw uint8 N x H x W x C,
    then the labels as little-endian uint16; both in the stored order of the test split.
    """
    pixels, labels = material.test_pixels, material.dataset.test.labels
    number, height, width, channels = pixels.shape
    header = {
        "format": PACK_FORMAT,
        "n": number,
        "height": height,
        "width": width,
        "channels": channels,
        "classes": list(material.dataset.classes),
    }
    with path.open("wb") as file:
        file.write(json.dumps(header).encode() + b"\n")
        file.write(np.ascontiguousarray(pixels).tobytes())
        file.write(labels.astype("<u2").tobytes())
    return int(number)


def load_weights_(model: nn.Module, path: Path) -> None:
    """Load a safetensors file into the model. Raises BadInput with the code "weights_mismatch"."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    remedy = "Send the weights of this very network, as safetensors with PyTorch's names, all of them finite."
    try:
        weights = load_file(path)
        model.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        message = f"the weights do not fit the network: {error}"
        raise BadInput(message, field="model.weights", code="weights_mismatch", remedy=remedy) from error
    for name, value in weights.items():
        if not bool(torch.isfinite(value).all()):
            message = f"the weights hold NaN or infinity in {name!r}"
            raise BadInput(message, field="model.weights", value=name, code="weights_mismatch", remedy=remedy)


def scaled(report: Report, start: float, end: float) -> Report:
    """Return a report that maps its fractions into a part of the whole task."""

    def forward(progress: Progress) -> None:
        fraction = start + (end - start) * (progress.fraction or 0.0)
        report(progress.model_copy(update={"fraction": min(1.0, fraction)}))

    return forward


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
