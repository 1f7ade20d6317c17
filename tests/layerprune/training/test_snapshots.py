"""A training that was killed goes on from its last state and ends with the weights that it would have had anyway."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from layerprune.api.training import EpochRecord, TrainingSpec
from layerprune.data.feed import Feed
from layerprune.models import build
from layerprune.training.loop import train_
from layerprune.training.recipe import Recipe, make_recipe
from layerprune.training.snapshots import Snapshots

Digits = Callable[..., tuple[Feed, Feed, Feed]]

EPOCHS = 6


def pupil() -> nn.Module:
    network = build("cifar:resnet20", classes=10, args={"width": 4}, seed=0)
    return nn.Sequential(network, nn.Dropout(0.1))


def train(
    model: nn.Module,
    data: tuple[Feed, Feed, Feed],
    optimizer: str = "sgd",
    snapshots: Snapshots | None = None,
    checkpoint: Callable[[], None] | None = None,
    epochs: int = EPOCHS,
) -> list[EpochRecord]:
    recipe = make_recipe(model, TrainingSpec(batch_size=32, ema=0.9, flip=True))
    recipe = dataclasses.replace(recipe, optimizer=optimizer, learning_rate=0.01, clip=1.0)
    teacher = build("cifar:resnet20", classes=10, args={"width": 4}, seed=1)
    return train_(
        model, data[0], recipe, epochs=epochs, seed=3, validation=data[1], teacher=teacher, checkpoint=checkpoint,
        snapshots=snapshots,
    )  # fmt: skip


def _flat(model: nn.Module) -> Tensor:
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def _stop_after(steps: int) -> Callable[[], None]:
    passed = iter(range(steps))

    def pause() -> None:
        if next(passed, None) is None:
            raise InterruptedError

    return pause


def _interrupted(
    data: tuple[Feed, Feed, Feed], path: Path, optimizer: str = "sgd", *, key: str = "a", steps: int = 5
) -> None:
    with pytest.raises(InterruptedError):
        train(pupil(), data, optimizer, Snapshots(path, key=key, every_s=0), _stop_after(steps), 3)


def test_killed_and_resumed_is_bit_for_bit_what_it_would_have_been(digits: Digits, tmp_path: Path) -> None:
    data = digits()
    context = multiprocessing.get_context("fork")
    passed = context.Value("i", 0)

    def count() -> None:
        passed.value += 1

    def work() -> None:
        train(pupil(), data, "sgd", Snapshots(tmp_path / "state", key="a", every_s=0), count)

    process = context.Process(target=work)
    process.start()
    deadline = time.monotonic() + 120
    while passed.value < 7:
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL

    whole, resumed = pupil(), pupil()
    curve = train(whole, data)
    snapshots = Snapshots(tmp_path / "new", key="a", resume=tmp_path / "state")
    assert snapshots.found is not None
    again = train(resumed, data, "sgd", snapshots)
    assert snapshots.notes == []
    assert torch.equal(_flat(whole), _flat(resumed))
    assert [r.model_copy(update={"seconds": 0}) for r in again] == [r.model_copy(update={"seconds": 0}) for r in curve]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_every_step_is_a_place_to_resume_from(optimizer: str, digits: Digits, tmp_path: Path) -> None:
    data = digits()
    whole = pupil()
    train(whole, data, optimizer, epochs=3)
    # Four batches per epoch: in the first epoch, at its end, and in the second.
    for steps in (1, 4, 6):
        _interrupted(data, tmp_path / "state", optimizer, steps=steps)
        resumed = pupil()
        steps_left = _stop_after(12 - steps)
        state = Snapshots(tmp_path / "new", key="a", resume=tmp_path / "state")
        train(resumed, data, optimizer, state, steps_left, 3)
        assert torch.equal(_flat(whole), _flat(resumed))


def test_the_state_of_another_training_is_ignored_and_noted(digits: Digits, tmp_path: Path) -> None:
    data = digits()
    _interrupted(data, tmp_path / "state", key="another")
    snapshots = Snapshots(tmp_path / "new", key="a", resume=tmp_path / "state")
    assert snapshots.found is None
    assert "another plan or another recipe" in snapshots.notes[0]


def test_the_state_of_another_stage_is_not_used(digits: Digits, tmp_path: Path) -> None:
    _interrupted(digits(), tmp_path / "state")
    snapshots = Snapshots(tmp_path / "new", key="a", resume=tmp_path / "state")
    assert snapshots.of_stage() is not None
    snapshots.stage = 1
    assert snapshots.of_stage() is None
    assert snapshots.notes == []


def test_the_state_of_a_network_of_another_shape_changes_nothing(digits: Digits, tmp_path: Path) -> None:
    data = digits()
    _interrupted(data, tmp_path / "state")
    wider = nn.Sequential(build("cifar:resnet20", classes=10, args={"width": 6}, seed=0), nn.Dropout(0.1))
    expected = nn.Sequential(build("cifar:resnet20", classes=10, args={"width": 6}, seed=0), nn.Dropout(0.1))
    snapshots = Snapshots(tmp_path / "new", key="a", resume=tmp_path / "state")
    train(wider, data, "sgd", snapshots, epochs=1)
    train(expected, data, epochs=1)
    assert "has the shape" in snapshots.notes[0]
    assert torch.equal(_flat(wider), _flat(expected))


@pytest.mark.parametrize("damage", ["torn", "empty", "foreign", "missing"])
def test_a_damaged_state_is_ignored_and_noted(damage: str, digits: Digits, tmp_path: Path) -> None:
    state = tmp_path / "state"
    _interrupted(digits(), state)
    content = state.read_bytes()
    state.unlink()
    if damage != "missing":
        state.write_bytes({"torn": content[:-100], "empty": b"", "foreign": b"PK\x03\x04" + content}[damage])
    snapshots = Snapshots(tmp_path / "new", key="a", resume=state)
    assert snapshots.found is None
    assert "cannot be read" in snapshots.notes[0]


def test_a_full_disk_does_not_stop_the_training(digits: Digits, tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "state", key="a", every_s=0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        curve = train(pupil(), digits(), "sgd", snapshots, epochs=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(curve) == 1
    assert [note.partition(":")[0] for note in snapshots.notes] == ["no checkpoint could be written"]
    assert not (tmp_path / "state").exists()


def test_a_state_is_tensors_and_json_and_nothing_else(digits: Digits, tmp_path: Path) -> None:
    _interrupted(digits(), tmp_path / "state")
    with safe_open(tmp_path / "state", framework="pt") as file:
        facts = json.loads(file.metadata()["layerprune-training"])
        kinds = {name.partition("/")[0] for name in file.keys()}  # noqa: SIM118
    assert facts["position"]["epoch"] == 2
    assert kinds == {"model", "averaged", "optimizer", "random"}
    assert not list(tmp_path.glob("*.part"))


def test_states_are_written_seldom(digits: Digits, tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "state", key="a")
    train(pupil(), digits(), "sgd", snapshots, epochs=1)
    assert not (tmp_path / "state").exists()


def test_a_recipe_is_json() -> None:
    recipe = make_recipe(pupil(), TrainingSpec())
    assert isinstance(recipe, Recipe)
    assert json.loads(json.dumps(recipe.describe()))["precision"]["dtype"] == "float32"
