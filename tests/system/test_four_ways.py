"""The ways in which a network comes, each from the upload to the comparison, with every family on the way.

By name with random weights, as ONNX, and as a plug-in; uploaded weights are in test_stranger.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from layerprune.api.jobs import JobRequest

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

PLAIN = Path(__file__).parent / "plain"
PLUGIN = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.second, self.second_norm = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x):
        return torch.relu(x + self.second_norm(self.second(torch.relu(self.first_norm(self.first(x))))))

def build(*, classes, width=8):
    stem = [nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
    blocks = [Block(width) for _ in range(3)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))

build.preprocess = {"size": 32, "resize": 36, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
"""
RESNET = {"name": "cifar:resnet20", "args": {"width": 4}}
DIGITS = {"name": "digits", "max_train_images": 300}
SMALL = {
    "pruning": {"methods": ["layer"], "criteria": ["weight_l1"], "amounts": [0.2]},
    "training": {"epochs": 1, "base_epochs": 1},
}
EVERYTHING = {
    "model": {"name": "acme_net", "args": {"width": 32}},
    "dataset": DIGITS,
    "rivals": [{"name": "acme_net", "args": {"width": 16}}],
    "pruning": {
        "methods": ["layer", "filter", "hybrid"],
        "criteria": ["weight_l1"],
        "targets": {"latency_ratios": [0.68]},
        "filters": {"alignments": [16]},
        "max_trainings": 6,
    },
    "training": {"epochs": 2, "base_epochs": 2, "schedule": {"kind": "iterative", "steps": 2}},
}


@pytest.fixture(scope="module")
def site(shared_site: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server, and a worker on whose machine a distribution with a network is installed."""
    installed = tmp_path_factory.mktemp("installed")
    (installed / "acme_networks.py").write_text(PLUGIN)
    information = installed / "acme_networks-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-networks\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[layerprune.models]\nacme_net = acme_networks:build\n")
    return shared_site(PYTHONPATH=str(installed))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """What a user's own script left: a network in two ONNX files."""
    folder = tmp_path_factory.mktemp("own")
    script = [sys.executable, PLAIN / "own_network.py", images, folder]
    done = subprocess.run(script, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shutil.make_archive(str(folder / "images"), "zip", images)
    return folder


@pytest.fixture(scope="module")
def dataset(site: Any, own: Path) -> dict[str, Any]:
    return {"name": "patterns", "upload": site.client.upload(own / "images.zip", kind="data")}


@pytest.fixture(scope="module")
def everything(site: Any) -> Any:
    """A finished job for a plug-in's network: all families towards a latency target and a rival, pruned in steps."""
    return finished(site, **EVERYTHING)


@pytest.fixture(scope="module")
def by_name(site: Any) -> Any:
    """A finished job for a network by name with random weights."""
    return finished(site, model=RESNET, dataset=DIGITS, **SMALL)


def finished(site: Any, **request: Any) -> Any:
    job = site.finish(site.client.submit(JobRequest.model_validate(request)).id)
    assert job.state == "done", job
    return job


def rows_of(site: Any, job: Any) -> dict[str, Any]:
    """The leaderboard's rows of a job, one by family; and the comparison has something to say."""
    rows = site.client.get_leaderboard(job=job.id).rows
    (device,) = site.client.comparison(job.id).devices
    assert device.summary
    return {row.family: row for row in rows}


def test_a_network_by_name_is_trained_from_random_weights(site: Any, by_name: Any) -> None:
    rows = rows_of(site, by_name)
    assert rows.keys() == {"base", "layer"}
    assert len(site.client.get_variant(rows["base"].variant).curve) == 1


@pytest.mark.parametrize("exporter", ["current", "older"])
def test_an_uploaded_onnx_file_is_pruned_and_trained(
    site: Any, own: Path, dataset: dict[str, Any], exporter: str
) -> None:
    model = {
        "onnx": site.client.upload(own / f"{exporter}.onnx", kind="onnx"),
        "preprocess": json.loads((own / "preprocess.json").read_text()),
    }
    rows = rows_of(site, finished(site, model=model, dataset=dataset, **SMALL))
    assert rows.keys() == {"base", "layer"}
    accuracy = json.loads((own / "report.json").read_text())["test_accuracy"]
    assert rows["base"].accuracy.value == pytest.approx(accuracy, abs=0.001)
    assert rows["layer"].macs < rows["base"].macs


def test_a_plugin_of_the_worker_is_offered_and_trained(site: Any, everything: Any) -> None:
    assert "acme_net" in {model.name for model in site.client.list_models()}
    base = site.client.get_variant(rows_of(site, everything)["base"].variant)
    assert (base.model, base.preprocess.size, base.preprocess.resize) == ("acme_net", 32, 36)
    assert [record.epoch for record in base.curve] == [1, 2]


def test_every_family_is_on_the_leaderboard_and_in_the_comparison(site: Any, everything: Any) -> None:
    rows = rows_of(site, everything)
    assert rows.keys() == {"base", "layer", "filter_aligned", "hybrid", "handcrafted"}
    (device,) = site.client.comparison(everything.id).devices
    (target,) = device.targets
    shown = {contender.family for contender in target.contenders} | target.missing.keys()
    assert {"layer", "filter_aligned", "hybrid"} <= shown
    assert any("hybrid" in (duel.first.family, duel.second.family) for duel in target.duels)


def test_a_hybrid_comes_from_a_search_and_lands_on_its_target(site: Any, everything: Any) -> None:
    assert "search" in {task.kind for task in everything.tasks}
    assert rows_of(site, everything)["hybrid"].ratio.value <= 0.68 * 1.1


def test_an_iterative_schedule_trains_between_the_steps(site: Any, everything: Any) -> None:
    variant = site.client.get_variant(rows_of(site, everything)["layer"].variant)
    assert [record.epoch for record in variant.curve] == [1, 2]
