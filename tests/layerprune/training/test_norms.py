"""Batch-norm statistics are the average over what they are estimated on, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layerprune.api.network import Preprocess
from layerprune.data.feed import MemoryFeed
from layerprune.training.norms import reestimate_batch_norm_, statistics_batches


def test_no_batch_of_statistics_holds_a_single_image() -> None:
    preprocess = Preprocess(size=8, channels=1, mean=[0.5], std=[0.3])
    feed = MemoryFeed(torch.zeros(65, 1, 8, 8, dtype=torch.uint8), torch.zeros(65, dtype=torch.int64), preprocess)
    assert [len(b) for b in statistics_batches(feed, batch_size=64, seed=0)] == [65]


def test_reestimated_statistics_are_the_average_over_the_batches() -> None:
    norm = nn.BatchNorm1d(1).eval()
    batches = [torch.tensor([[0.0], [2.0]]), torch.tensor([[10.0], [14.0]])]
    reestimate_batch_norm_(norm, batches)
    # Means 1 and 12; unbiased variances 2 and 8.
    assert norm.running_mean.tolist() == [6.5]
    assert norm.running_var.tolist() == [5.0]
    assert norm.momentum == 0.1
    assert not norm.training


def test_reestimation_does_not_touch_weights_nor_dropout() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.9), nn.BatchNorm1d(3)).train()
    reestimate_batch_norm_(model, [torch.randn(64, 3) + 5])
    # Dropout would have multiplied the variance by ten.
    assert model[2].running_var.tolist() == pytest.approx([1, 1, 1], abs=0.1)
    assert model[0].weight.tolist() == [1, 1, 1]
    assert model[1].training
