from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from layerprune.api.errors import BadInput
from layerprune.models.weights import classes_of, load_weights_

State = dict[str, Tensor]


def _network(classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, classes))


def _saved(state: State, folder: Path) -> Path:
    save_file({name: tensor.clone().contiguous() for name, tensor in state.items()}, folder / "w.safetensors")
    return folder / "w.safetensors"


def test_fitting_weights_are_loaded(tmp_path: Path) -> None:
    wanted = _network().state_dict()
    wanted["3.bias"] += 1
    model = _network()
    load_weights_(model, _saved(wanted, tmp_path))
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())


def _narrow(state: State) -> None:
    state["0.weight"] = state["0.weight"][:1]


def _other_classes(state: State) -> None:
    state["3.weight"], state["3.bias"] = torch.zeros(5, 8), torch.zeros(5)


def _missing(state: State) -> None:
    del state["1.running_var"]


def _unexpected(state: State) -> None:
    state["head.weight"] = torch.zeros(2)


def _nan(state: State) -> None:
    state["3.weight"][0, 0] = torch.nan


def _infinite(state: State) -> None:
    state["1.running_mean"][1] = torch.inf


@pytest.mark.parametrize(
    ("spoil", "message", "value"),
    [
        (_narrow, r"0\.weight has the shape \[1, 1, 3, 3\] in the file and \[2, 1, 3, 3\] in the network", "0.weight"),
        (_other_classes, r"3\.weight .*: it was trained for 5 classes", "3.weight"),
        (_missing, r"the network has, the file has not: 1\.running_var", "1.running_var"),
        (_unexpected, r"the file has, the network has not: head\.weight", "head.weight"),
        (_nan, r"3\.weight holds NaN or infinity", "3.weight"),
        (_infinite, r"1\.running_mean holds NaN or infinity", "1.running_mean"),
    ],
)
def test_misfits_name_the_first_tensor_and_load_nothing(
    spoil: Callable[[State], None], message: str, value: str, tmp_path: Path
) -> None:
    state = {name: tensor.clone() for name, tensor in _network().state_dict().items()}
    spoil(state)
    model = _network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(BadInput, match=message) as caught:
        load_weights_(model, _saved(state, tmp_path))
    assert (caught.value.code, caught.value.value) == ("weights_mismatch", value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_classes_are_read_from_the_classifier() -> None:
    assert classes_of(_network(2), _network(11).state_dict()) == 11
    assert classes_of(_network(2), {}) is None
