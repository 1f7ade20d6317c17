from __future__ import annotations

import json
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from layerprune import models
from layerprune.api.errors import BadInput
from layerprune.models.checkpoint import classes_in, fitted, read_checkpoint

NAME = "cifar:resnet20"
State = dict[str, Tensor]


def _state(seed: int = 0, classes: int = 4) -> State:
    return models.build(NAME, classes=classes, args={"width": 2}, seed=seed).state_dict()


def _prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def _read(content: object, folder: Path, **options: bool) -> tuple[State, list[str]]:
    torch.save(content, folder / "c.pth")
    network = models.build(NAME, classes=4, args={"width": 2})
    found = fitted(read_checkpoint(folder / "c.pth", **options), network)
    return found.state, list(found.notes)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: OrderedDict(state),
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
        lambda state: {"model": _prefixed("module.", state), "epoch": 3},
        lambda state: {"net": _prefixed("module._orig_mod.", state)},
        lambda state: {"model_state_dict": _prefixed("model.backbone.", state)},
        lambda state: {"model": {"state_dict": state}},
        lambda state: {"model_ema": {**_prefixed("module.", state), "n_averaged": torch.tensor(5)}},
    ],
)
def test_the_weights_are_found_wherever_they_lie(wrap: Any, tmp_path: Path) -> None:
    state, _ = _read(wrap(_state()), tmp_path)
    assert state.keys() == _state().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in _state().items())


@pytest.mark.parametrize(("use_average", "seed"), [(True, 1), (False, 0)])
def test_averaged_weights_are_taken_unless_they_are_declined(use_average: bool, seed: int, tmp_path: Path) -> None:
    content = {"state_dict": _state(0), "state_dict_ema": _prefixed("module.", _state(1))}
    state, notes = _read(content, tmp_path, use_average=use_average)
    assert torch.equal(state["conv1.weight"], _state(seed)["conv1.weight"])
    assert any("averaged weights" in note for note in notes)


def test_what_needs_code_is_refused_without_running_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"c\.pth needs more than tensors") as caught:
        _read(Evil(tmp_path / "ran"), tmp_path)
    assert "state_dict()" in caught.value.remedy
    assert not (tmp_path / "ran").exists()


class Evil:
    """Unpickling it would touch a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return open, (self.path, "w")


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {"state_dict": {}}, 7])
def test_a_checkpoint_without_weights_says_what_it_holds(content: object, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"c\.pth holds no weights"):
        _read(content, tmp_path)


def test_the_number_of_classes_is_read_from_the_classifier(tmp_path: Path) -> None:
    torch.save({"model": _prefixed("module.", _state(classes=9))}, tmp_path / "c.pth")
    network = models.build(NAME, classes=2, args={"width": 2})
    assert classes_in(read_checkpoint(tmp_path / "c.pth"), network) == 9


def _command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "layerprune.cli", "import", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_writes_what_can_be_loaded(tmp_path: Path) -> None:
    torch.save({"epoch": 1, "state_dict": _prefixed("module.", _state(classes=9))}, tmp_path / "c.pth")
    output = tmp_path / "w.safetensors"
    done = _command(tmp_path / "c.pth", "--model", NAME, "--arg", "width=2", "-o", output, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["model"], report["classes"]) == (NAME, 9)
    assert report["notes"][0] == "took the weights under 'state_dict'"
    assert load_file(output).keys() == _state().keys()


def test_the_command_names_the_first_tensor_that_does_not_fit(tmp_path: Path) -> None:
    torch.save(_state(), tmp_path / "c.pth")
    done = _command(tmp_path / "c.pth", "--model", NAME, "-o", tmp_path / "w.safetensors")
    assert done.returncode == 2
    assert "conv1.weight has the shape [2, 3, 3, 3] in the file and [16, 3, 3, 3] in the network" in done.stderr
    assert not (tmp_path / "w.safetensors").exists()
