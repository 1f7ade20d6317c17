"""The network that a job prunes, from wherever it comes, and the data as this network sees it."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from layerprune import models
from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.api.network import ModelSpec, Preprocess
from layerprune.data import load_dataset
from layerprune.data.material import Material, load_material
from layerprune.inspection.onnx_file import inspect_onnx
from layerprune.models.onnx_import import image_of, load
from layerprune.models.weights import load_weights_


def material_of(spec: ModelSpec, dataset: DatasetSpec, *, folder: Path) -> Material:
    """Load the data for the network: as the job says, else as the network's source says, else as the data suggest.

    The source is asked for uploaded weights, which were trained with its preprocessing, and for networks of one size.
    Uploads lie in `folder`/inputs by digest. Raises BadInput.
    """
    return load_material(spec, dataset, folder=folder, preprocess=_stated(spec, dataset, folder))


def make_model(
    spec: ModelSpec, material: Material, *, seed: int, folder: Path, weights: str | None = None
) -> tuple[nn.Module, tuple[str, ...]]:
    """Make the network, and say what was done to it on the way.

    Its weights are those of the file `weights` in `folder`/inputs, else the uploaded ones, else random ones. Raises
    BadInput.
    """
    classes = len(material.dataset.classes)
    notes: tuple[str, ...] = ()
    if spec.onnx is not None:
        imported = load(folder / "inputs" / spec.onnx, size=material.preprocess.size)
        if imported.classes != classes:
            raise BadInput(
                f"the ONNX file has {imported.classes} outputs, {material.dataset.name} has {classes} classes",
                field="model.onnx",
                value=imported.classes,
                code="weights_mismatch",
                remedy="Send the data set that the network was trained for, or export it with an output per class.",
            )
        model: nn.Module = imported.model
        notes = imported.notes
    else:
        model = models.build(spec.name, classes=classes, args=spec.args, seed=seed)
    if (chosen := weights or spec.weights) is not None:
        load_weights_(model, folder / "inputs" / chosen)
    return model, notes


def is_trained(spec: ModelSpec) -> bool:
    """Whether the network comes with its weights."""
    return spec.onnx is not None or spec.weights is not None


def _stated(spec: ModelSpec, dataset: DatasetSpec, folder: Path) -> Preprocess | None:
    """What the network's source says about its input, where that counts."""
    if spec.onnx is not None:
        return _for_onnx(spec, dataset, folder)
    if spec.preprocess is None and (spec.weights is not None or models.has_fixed_size(spec.name)):
        return models.preprocess_of(spec.name, spec.args)
    return None


def _for_onnx(spec: ModelSpec, dataset: DatasetSpec, folder: Path) -> Preprocess | None:
    """The data set's own preprocessing at the size and with the channels that the file fixes."""
    given = spec.preprocess
    report = inspect_onnx((folder / "inputs" / str(spec.onnx)).read_bytes())
    suggested = given or load_dataset(dataset, folder=folder).preprocess
    image = image_of(report, given.size if given else None, default=suggested.size)
    if given is not None:
        if given.channels != image.channels:
            raise BadInput(
                f"the ONNX file takes {image.channels} channels, the preprocessing makes {given.channels}",
                field="model.preprocess.channels",
                value=given.channels,
                remedy=f"Set model.preprocess.channels to {image.channels}, with one mean and std for each.",
            )
        return None
    mean, std = suggested.mean, suggested.std
    if image.channels != suggested.channels:
        mean, std = ([sum(each) / len(each)] * image.channels for each in (mean, std))
    # What is cut away keeps its share of the image.
    resize = suggested.resize and round(suggested.resize * image.size / suggested.size)
    return suggested.model_copy(
        update={"size": image.size, "resize": resize, "channels": image.channels, "mean": mean, "std": std}
    )
