"""The bundled data set, its splits, and how an image becomes an input."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from layerprune.api.errors import BadInput, UnknownName
from layerprune.api.network import Preprocess
from layerprune.data import list_datasets, load_dataset, normalise, preprocess_images

HALF = Preprocess(size=8, channels=1, mean=[0.5], std=[0.25])


def test_digits_splits_cover_every_image_once() -> None:
    data = load_dataset("digits")
    splits = (data.train, data.calibration, data.validation, data.test)
    assert [len(split) for split in splits] == [942, 157, 158, 540]
    assert sorted(np.concatenate([split.indices for split in splits])) == list(range(1797))


def test_digits_splits_hold_every_class_alike() -> None:
    data = load_dataset("digits")
    for split in (data.calibration, data.validation, data.test):
        counts = np.bincount(split.labels, minlength=10)
        assert counts.max() - counts.min() <= 3


def test_the_table_says_what_is_loaded() -> None:
    for info in list_datasets():
        data = load_dataset(info.name)
        assert (len(data.classes), len(data.test)) == (info.classes, info.test_images)
        assert len(data.train) == info.train_images


def test_the_fingerprint_is_the_same_every_time_and_changes_with_a_pixel() -> None:
    first, second = load_dataset("digits"), load_dataset("digits")
    second.train.images[0, 0, 0, 0] ^= 1
    assert first.fingerprint == load_dataset("digits").fingerprint
    assert first.fingerprint != second.fingerprint


def test_an_unknown_data_set_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="known: digits"):
        load_dataset("mnist")


def test_normalising_scales_shifts_and_divides() -> None:
    images = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1).repeat(8, 1).repeat(8, 2)
    inputs = normalise(images, HALF)
    assert inputs.shape == (2, 1, 8, 8)
    assert inputs.dtype == torch.float32
    assert inputs[:, 0, 0, 0].tolist() == [-2.0, 2.0]


def test_grey_images_are_repeated_for_a_network_with_three_channels() -> None:
    images = np.full((1, 8, 8, 1), 255, np.uint8)
    inputs = normalise(images, Preprocess(size=8, channels=3, mean=[0, 0.5, 1], std=[1, 1, 1]))
    assert inputs[0, :, 0, 0].tolist() == [1.0, 0.5, 0.0]


def test_resizing_doubles_pixels_by_the_nearest_one() -> None:
    images = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
    resized = preprocess_images(images, HALF.model_copy(update={"size": 16, "interpolation": "nearest"}))
    assert np.array_equal(resized, images.repeat(2, 1).repeat(2, 2))


def test_the_default_preprocessing_centres_the_training_images() -> None:
    data = load_dataset("digits")
    preprocess = data.default_preprocess(channels=1)
    inputs = normalise(data.train.images, preprocess)
    assert (preprocess.size, preprocess.classes) == (16, [str(digit) for digit in range(10)])
    assert abs(float(inputs.mean())) < 1e-3
    assert float(inputs.std()) == pytest.approx(1, abs=1e-3)


def test_a_wrong_number_of_means_is_refused() -> None:
    images = np.zeros((1, 8, 8, 1), np.uint8)
    with pytest.raises(BadInput, match=r"preprocess.mean has 1 values for 3 channels"):
        normalise(images, Preprocess(size=8, channels=3, mean=[0], std=[1, 1, 1]))


def test_colour_images_do_not_fit_a_grey_network() -> None:
    with pytest.raises(BadInput, match="images have 3 channels, the network takes 1"):
        normalise(np.zeros((1, 8, 8, 3), np.uint8), HALF)


def test_listing_the_data_sets_imports_no_torch() -> None:
    code = "import sys; from layerprune.data import list_datasets; list_datasets(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
