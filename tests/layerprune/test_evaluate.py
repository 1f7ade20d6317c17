"""Accuracy as counts and outcomes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from layerprune.api.errors import BadInput
from layerprune.api.network import Preprocess
from layerprune.data.feed import MemoryFeed
from layerprune.evaluate import evaluate

PIXELS = torch.tensor([[2, 1], [0, 1], [3, 0]], dtype=torch.uint8)


def _feed(labels: Sequence[int], *, times: int = 1) -> MemoryFeed:
    """Images of one row of two pixels, which are the logits of a network that only flattens them."""
    pixels = PIXELS.repeat(times, 1)[:, None, None, :]
    preprocess = Preprocess(size=8, channels=1, mean=[0.0], std=[1.0])
    return MemoryFeed(pixels, torch.tensor(labels).repeat(times), preprocess)


def test_counts_and_outcomes_are_in_stored_order() -> None:
    count, outcomes = evaluate(nn.Flatten(), _feed([0, 0, 0]))
    assert (count.correct, count.n) == (2, 3)
    assert outcomes.tolist() == [True, False, True]


def test_many_batches_count_like_one() -> None:
    count, outcomes = evaluate(nn.Flatten(), _feed([0, 0, 0], times=200))
    assert (count.correct, count.n) == (400, 600)
    assert outcomes.sum() == 400


def test_every_module_is_left_in_its_mode() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Flatten()).train()
    model[1].eval()
    before = model[0].running_mean.clone()
    evaluate(model, _feed([0, 1, 0]))
    assert [model.training, model[0].training, model[1].training] == [True, True, False]
    assert torch.equal(model[0].running_mean, before)


def test_outputs_that_are_not_finite_are_no_accuracy() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    nn.init.constant_(model[1].weight, float("inf"))
    with pytest.raises(BadInput) as caught:
        evaluate(model, _feed([0, 0, 0]))
    assert caught.value.code == "diverged"
