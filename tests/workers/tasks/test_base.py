"""The base of a job from weights and from ONNX: how it sees the data, and what is said when it is not as expected."""

from __future__ import annotations

import hashlib
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from layerprune import models
from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.api.network import ModelSpec, Preprocess
from layerprune.data.material import Material
from workers.tasks.base import make_model, material_of
from workers.tasks.diagnosis import likely_cause

DIGITS = DatasetSpec(name="digits")
SMALL = Preprocess(size=8, channels=3, mean=[0.3] * 3, std=[0.4] * 3)


def _put(content: bytes, folder: Path) -> str:
    (folder / "inputs").mkdir(exist_ok=True)
    digest = hashlib.sha256(content).hexdigest()
    (folder / "inputs" / digest).write_bytes(content)
    return digest


def _weights(folder: Path, classes: int = 10) -> str:
    model = models.build("cifar:resnet20", classes=classes, args={"width": 2}, seed=9)
    save_file(model.state_dict(), folder / "w")
    return _put((folder / "w").read_bytes(), folder)


def _onnx(folder: Path, classes: int = 10, channels: int = 3, size: int = 12) -> str:
    network = nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.zeros(1, channels, size, size),), file, dynamo=False)
    return _put(file.getvalue(), folder)


def test_uploaded_weights_are_the_networks(tmp_path: Path) -> None:
    spec = ModelSpec(name="cifar:resnet20", args={"width": 2}, weights=_weights(tmp_path), preprocess=SMALL)
    model, notes = make_model(spec, material_of(spec, DIGITS, folder=tmp_path), seed=0, folder=tmp_path)
    expected = models.build("cifar:resnet20", classes=10, args={"width": 2}, seed=9).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert notes == ()


def test_weights_of_another_number_of_classes_are_refused(tmp_path: Path) -> None:
    spec = ModelSpec(name="cifar:resnet20", args={"width": 2}, weights=_weights(tmp_path, 7), preprocess=SMALL)
    with pytest.raises(BadInput, match="it was trained for 7 classes"):
        make_model(spec, material_of(spec, DIGITS, folder=tmp_path), seed=0, folder=tmp_path)


@pytest.mark.parametrize(
    ("changes", "size"), [({}, None), ({"weights": "0" * 64}, 64), ({"preprocess": SMALL, "weights": "0" * 64}, 8)]
)
def test_the_source_says_how_published_weights_see_an_image(
    changes: dict[str, Any], size: int | None, tmp_path: Path
) -> None:
    spec = ModelSpec(name="timm:resnet18", args={"img_size": 64}, **changes)
    preprocess = material_of(spec, DIGITS, folder=tmp_path).preprocess
    plain = material_of(ModelSpec(name="cifar:resnet20"), DIGITS, folder=tmp_path).preprocess
    assert preprocess.size == (size or plain.size)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_onnx_file_fixes_size_and_channels(channels: int, tmp_path: Path) -> None:
    spec = ModelSpec(onnx=_onnx(tmp_path, channels=channels))
    material = material_of(spec, DIGITS, folder=tmp_path)
    assert (material.preprocess.size, material.preprocess.channels) == (12, channels)
    model, _ = make_model(spec, material, seed=0, folder=tmp_path)
    assert model(material.example).shape == (2, 10)


def test_an_onnx_file_of_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    spec = ModelSpec(onnx=_onnx(tmp_path, classes=7))
    with pytest.raises(BadInput, match="the ONNX file has 7 outputs, digits has 10 classes"):
        make_model(spec, material_of(spec, DIGITS, folder=tmp_path), seed=0, folder=tmp_path)


class _Nearest(nn.Module):
    """Answers with the class whose training images' mean is nearest: as good as its inputs are prepared right."""

    def __init__(self, material: Material, order: list[int] | None = None) -> None:
        super().__init__()
        images, labels = material.train.first(len(material.train)), material.train.labels
        means = torch.stack([images[labels == label].mean(0) for label in range(10)])
        self.means = nn.Parameter(means[order] if order else means, requires_grad=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return -torch.cdist(images.flatten(1), self.means.flatten(1))


def _material(preprocess: Preprocess, folder: Path) -> Material:
    return material_of(ModelSpec(name="cifar:resnet20", preprocess=preprocess), DIGITS, folder=folder)


def test_a_wrong_order_of_classes_is_recognised(tmp_path: Path) -> None:
    material = _material(SMALL, tmp_path)
    model = _Nearest(material, order=[3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    cause = likely_cause(model, material, expected=0.9)
    assert cause is not None
    assert "the classes in another order" in cause


def test_a_missing_normalisation_is_recognised(tmp_path: Path) -> None:
    model = _Nearest(_material(SMALL.model_copy(update={"mean": [0.0] * 3, "std": [1.0] * 3}), tmp_path))
    wrong = _material(SMALL.model_copy(update={"mean": [5.0] * 3, "std": [0.05] * 3}), tmp_path)
    cause = likely_cause(model, wrong, expected=0.9)
    assert cause is not None
    assert "not normalised (mean 0, std 1)" in cause


def test_a_network_that_is_bad_either_way_gets_no_explanation(tmp_path: Path) -> None:
    material = _material(SMALL, tmp_path)
    assert likely_cause(models.build("cifar:resnet20", classes=10, seed=1), material, expected=0.99) is None
