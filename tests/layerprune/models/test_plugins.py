"""Plug-ins as real installed distributions: a module and its dist-info on the import path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from layerprune import models
from layerprune.api.errors import BadInput

NETWORK = """
from torch import nn

class Net:
    description = "two layers"
    input_size = 12
    preprocess = {"size": 12, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}

    @staticmethod
    def build(*, classes, width=4):
        return nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))

def nothing(*, classes):
    return None

def fails(*, classes):
    raise RuntimeError("no such file")
"""
ENTRIES = (
    "[layerprune.models]\nacme_net = acme:Net\nacme_none = acme:nothing\nacme_bad = acme:fails\ngone = no_acme:Net\n"
)


@pytest.fixture(autouse=True)
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "acme.py").write_text(NETWORK)
    information = tmp_path / "acme-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("acme", None)


def test_a_plugin_is_listed_and_built_by_its_name() -> None:
    listed = {model.name: model for model in models.list_models()}
    assert (listed["acme_net"].source, listed["acme_net"].input_size) == ("plugin", 12)
    model = models.build("acme_net", classes=7, args={"width": 5}, seed=3)
    assert model(torch.zeros(2, 3, 12, 12)).shape == (2, 7)
    stated = models.preprocess_of("acme_net")
    assert stated is not None
    assert stated.size == 12


def test_a_plugin_that_cannot_be_imported_leaves_the_others_alone() -> None:
    listed = {model.name: model for model in models.list_models()}
    assert "no_acme" in listed["gone"].description
    assert "acme_net" in listed
    assert "cifar:resnet20" in listed
    with pytest.raises(BadInput, match=r"gone .* cannot be imported: ModuleNotFoundError"):
        models.build("gone", classes=2)


@pytest.mark.parametrize(("name", "message"), [("acme_none", "gave NoneType"), ("acme_bad", "no such file")])
def test_a_plugin_that_makes_no_network_is_named(name: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        models.build(name, classes=2)
    assert caught.value.value == name
