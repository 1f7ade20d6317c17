"""A trial times training steps and leaves no trace."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from layerprune.api.training import TrainingSpec
from layerprune.data.feed import Feed
from layerprune.training import trial
from layerprune.training.precision import Precision
from layerprune.training.recipe import make_recipe
from layerprune.training.trial import choose_precision


def test_a_trial_times_every_option_and_changes_nothing(
    digits: Callable[..., tuple[Feed, Feed, Feed]], small: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both, also where this processor would only emulate the second.
    monkeypatch.setattr(trial, "options", lambda device: [Precision(), Precision("bfloat16")])
    model = nn.Sequential(small(), nn.Dropout(0.5)).eval()
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    chosen = choose_precision(model, digits()[0], make_recipe(model, TrainingSpec()), teacher=small())
    assert torch.equal(torch.rand(1), expected)
    assert set(chosen.trial_ms) == {"float32", "bfloat16"}
    assert min(chosen.trial_ms.values()) > 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.training
