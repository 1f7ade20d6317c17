"""A data set as one network takes it: class order, memory or stream, and what devices are asked about."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.api.network import ModelSpec, Preprocess
from layerprune.data import material as module
from layerprune.data.feed import MemoryFeed
from layerprune.data.material import limited, load_material
from layerprune.data.streaming import StreamedFeed

DIGITS = DatasetSpec(name="digits")
PREPROCESS = Preprocess(size=8, mean=[0.3] * 3, std=[0.4] * 3)
MODEL = ModelSpec(name="cifar:resnet20", preprocess=PREPROCESS)
ORDER = list("9876543210")


def test_labels_follow_the_networks_order_of_classes() -> None:
    plain, ordered = load_material(MODEL, DIGITS), load_material(MODEL, DIGITS, class_order=ORDER)
    assert ordered.preprocess.classes == list(ordered.dataset.classes) == ORDER
    assert torch.equal(ordered.test.labels, 9 - plain.test.labels)
    assert torch.equal(ordered.test.first(9), plain.test.first(9))
    assert ordered.dataset.fingerprint == plain.dataset.fingerprint


def test_the_preprocessing_may_name_the_order() -> None:
    named = MODEL.model_copy(update={"preprocess": PREPROCESS.model_copy(update={"classes": ORDER})})
    assert load_material(named, DIGITS).dataset.classes == tuple(ORDER)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (list("012345678"), "the data set has the class '9'"),
        ([*"0123456789", "x"], "the network has the class 'x'"),
        (list("01234567899"), "the network has a class twice"),
    ],
)
def test_other_classes_than_the_networks_are_an_error(order: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        load_material(MODEL, DIGITS, class_order=order)
    assert caught.value.field == "model.preprocess.classes"


def test_the_jobs_preprocessing_goes_before_the_sources_and_that_before_the_data_sets() -> None:
    source = Preprocess(size=24, mean=[0.5] * 3, std=[0.5] * 3)
    bare = MODEL.model_copy(update={"preprocess": None})
    assert load_material(MODEL, DIGITS, preprocess=source).preprocess.size == 8
    assert load_material(bare, DIGITS, preprocess=source).preprocess.size == 24
    assert load_material(bare, DIGITS).preprocess.size == 16


def test_a_set_too_large_for_memory_streams_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = load_material(MODEL, DIGITS)
    monkeypatch.setattr(module, "MEMORY_BYTES", 1797 * 64 - 1)
    streamed = load_material(MODEL, DIGITS)
    assert isinstance(memory.train, MemoryFeed)
    assert isinstance(streamed.train, StreamedFeed)
    assert torch.equal(memory.validation.first(158), streamed.validation.first(158))
    assert torch.equal(memory.validation.labels, streamed.validation.labels)


def test_all_test_images_are_asked_about_while_they_fit() -> None:
    material = load_material(MODEL, DIGITS)
    assert material.pack is material.test


def test_of_too_many_images_a_part_with_every_class_in_proportion_is_drawn() -> None:
    labels = torch.tensor(([0] * 60 + [1] * 30 + [2] * 10) * 3)
    pixels = torch.zeros(300, 1, 8, 8, dtype=torch.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = torch.arange(300) // 100, torch.arange(300) % 100
    drawn = limited(MemoryFeed(pixels, labels, PREPROCESS), 100 * 64 + 63)
    assert np.bincount(drawn.labels.numpy()).tolist() == [60, 30, 10]
    numbers = [100 * int(image[0, 0, 0]) + int(image[0, 0, 1]) for image in drawn.pixels(torch.arange(100))]
    assert numbers == sorted(set(numbers))
    assert labels[numbers].tolist() == drawn.labels.tolist()
    assert max(numbers) > 200
