"""Accuracy as counts and outcomes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layerprune.api.errors import BadInput
from layerprune.evaluate import evaluate

LOGITS = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])


def test_counts_and_outcomes_are_in_stored_order() -> None:
    count, outcomes = evaluate(nn.Identity(), LOGITS, torch.tensor([0, 0, 0]))
    assert (count.correct, count.n) == (2, 3)
    assert outcomes.tolist() == [True, False, True]


def test_many_batches_count_like_one() -> None:
    count, outcomes = evaluate(nn.Identity(), LOGITS.repeat(200, 1), torch.tensor([0, 0, 0]).repeat(200))
    assert (count.correct, count.n) == (400, 600)
    assert outcomes.sum() == 400


def test_every_module_is_left_in_its_mode() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5)).train()
    model[1].eval()
    before = model[0].running_mean.clone()
    evaluate(model, LOGITS, torch.tensor([0, 1, 0]))
    assert [model.training, model[0].training, model[1].training] == [True, True, False]
    assert torch.equal(model[0].running_mean, before)


def test_outputs_that_are_not_finite_are_no_accuracy() -> None:
    with pytest.raises(BadInput) as caught:
        evaluate(nn.Identity(), LOGITS / 0, torch.tensor([0, 0, 0]))
    assert caught.value.code == "diverged"
