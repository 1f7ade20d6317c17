"""The bundled data set, its splits, and the table that names it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput, UnknownName
from layerprune.api.network import ModelSpec, Preprocess
from layerprune.data import list_datasets, load_dataset
from layerprune.data.material import load_material

DIGITS = DatasetSpec(name="digits")


def test_digits_splits_cover_every_image_once() -> None:
    data = load_dataset(DIGITS)
    splits = (data.train, data.calibration, data.validation, data.test)
    assert [len(split) for split in splits] == [942, 157, 158, 540]
    assert sorted(np.concatenate([split.positions for split in splits])) == list(range(1797))


def test_digits_splits_hold_every_class_alike() -> None:
    data = load_dataset(DIGITS)
    for split in (data.calibration, data.validation, data.test):
        counts = np.bincount(split.labels, minlength=10)
        assert counts.max() - counts.min() <= 3


def test_the_table_says_what_is_loaded() -> None:
    (info,) = (info for info in list_datasets() if info.name == "digits")
    data = load_dataset(DIGITS)
    assert (len(data.classes), len(data.train), len(data.test)) == (info.classes, info.train_images, info.test_images)


def test_the_fingerprint_is_the_same_every_time_and_changes_with_a_pixel() -> None:
    first, second = load_dataset(DIGITS), load_dataset(DIGITS)
    second.train.source.pixels[first.train.positions[0], 0, 0, 0] ^= 1
    assert first.fingerprint == load_dataset(DIGITS).fingerprint
    assert first.fingerprint != second.fingerprint


def test_an_unknown_data_set_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"known: .*digits"):
        load_dataset(DatasetSpec(name="mnist"))


def test_resizing_doubles_pixels_by_the_nearest_one() -> None:
    preprocess = Preprocess(size=16, channels=1, interpolation="nearest", mean=[0.5], std=[0.25])
    feed = load_material(ModelSpec(name="cifar:resnet20", preprocess=preprocess), DIGITS).test
    data = load_dataset(DIGITS)
    stored = data.test.source.pixels[data.test.positions[:3], :, :, 0]
    assert np.array_equal(feed.pixels(torch.arange(3))[:, 0], stored.repeat(2, 1).repeat(2, 2))


def test_the_default_preprocessing_centres_the_training_images() -> None:
    own = load_dataset(DIGITS).preprocess
    assert (own.size, own.channels) == (16, 1)
    unresized = ModelSpec(name="cifar:resnet20", preprocess=own.model_copy(update={"size": 8}))
    inputs = load_material(unresized, DIGITS).train.first(942)
    assert abs(float(inputs.mean())) < 1e-3
    assert float(inputs.std()) == pytest.approx(1, abs=1e-3)


def test_one_grey_channel_serves_a_network_with_three() -> None:
    material = load_material(ModelSpec(name="cifar:resnet20"), DIGITS)
    assert (material.preprocess.channels, material.preprocess.mean) == (3, load_dataset(DIGITS).preprocess.mean * 3)
    assert material.preprocess.classes == [str(digit) for digit in range(10)]
    assert material.example.shape == (2, 3, 16, 16)


def test_a_wrong_number_of_means_is_refused() -> None:
    model = ModelSpec(name="cifar:resnet20", preprocess=Preprocess(size=8, channels=3, mean=[0], std=[1, 1, 1]))
    with pytest.raises(BadInput, match=r"preprocess.mean has 1 values for 3 channels"):
        load_material(model, DIGITS)


def test_listing_the_data_sets_imports_no_torch() -> None:
    code = "import sys; from layerprune.data import list_datasets; list_datasets(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
