"""Processes that train together get what one process gets from the same batches."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from layerprune.api.training import EpochRecord, TrainingSpec
from layerprune.data.feed import Feed
from layerprune.training.group import Group, processes_for, together
from layerprune.training.loop import train_
from layerprune.training.recipe import make_recipe

Digits = Callable[..., tuple[Feed, Feed, Feed]]


def _network() -> nn.Module:
    """Without batch norm, whose statistics are each process's own."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 8, 3, stride=2)
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(72, 10))


def _train(model: nn.Module, data: tuple[Feed, Feed, Feed], folder: Path, group: Group) -> list[EpochRecord]:
    (folder / f"{group.rank}").write_text(str(os.getpid()))
    # 150 images in batches of 37 and 38, so that the parts of a batch differ in size.
    recipe = make_recipe(model, TrainingSpec(batch_size=37, learning_rate=0.05, ema=0.8))
    teacher = copy.deepcopy(model)
    return train_(
        model, data[0], recipe, epochs=3, seed=0, validation=data[1], teacher=teacher, group=group
    )  # fmt: skip


def test_two_processes_train_like_one(digits: Digits, tmp_path: Path) -> None:
    data = digits(8, 150)
    one, two = _network(), _network()
    alone = together(partial(_train, one, data, tmp_path), processes=1)
    shared = together(partial(_train, two, data, tmp_path), processes=2)
    assert len({(tmp_path / rank).read_text() for rank in ("0", "1")}) == 2
    assert [record.loss for record in shared] == pytest.approx([record.loss for record in alone], rel=1e-4)
    for name, value in one.state_dict().items():
        assert torch.allclose(two.state_dict()[name], value, rtol=1e-3, atol=1e-5), name
    assert not torch.allclose(one[0].weight, _network()[0].weight, atol=1e-3)


def test_the_death_of_another_process_is_an_error() -> None:
    def work(group: Group) -> None:
        if not group.leads:
            os._exit(1)
        group.meet()
        group.meet()

    with pytest.raises(RuntimeError):
        together(work, processes=2)


def test_the_first_process_decides_for_all(tmp_path: Path) -> None:
    def work(group: Group) -> None:
        (tmp_path / str(group.rank)).write_text(group.agree(lambda: f"said by {group.rank}"))
        group.meet()

    together(work, processes=2)
    assert [(tmp_path / rank).read_text() for rank in ("0", "1")] == ["said by 0"] * 2


def test_without_several_gpus_a_training_is_one_process() -> None:
    if torch.cuda.device_count() < 2:
        assert processes_for(256) == 1
    assert processes_for(2) == 1
