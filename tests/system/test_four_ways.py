"""The four ways in which a network comes, each from the upload to the comparison, with every family on the way."""

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
        self.conv, self.norm = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x):
        return torch.relu(x + self.norm(self.conv(x)))

def build(*, classes, width=8):
    blocks = [Block(width) for _ in range(3)]
    stem = [nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))

build.preprocess = {"size": 24, "resize": 28, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
"""
SMALL = {
    "pruning": {"methods": ["layer"], "criteria": ["weight_l1"], "amounts": [0.2]},
    "training": {"epochs": 1, "base_epochs": 1},
}
EVERYTHING = {
    "model": {"name": "cifar:resnet20", "args": {"width": 8}},
    "dataset": {"name": "digits", "max_train_images": 600},
    "rivals": [{"name": "cifar:resnet20", "args": {"width": 4}}],
    "pruning": {
        "methods": ["layer", "filter", "hybrid"],
        "criteria": ["weight_l1"],
        "targets": {"latency_ratios": [0.6]},
        "filters": {"alignments": [1, 8]},
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
    """A finished job by name with random weights: all families towards a latency target, and a rival, in steps."""
    return finished(site, **EVERYTHING)


def finished(site: Any, **request: Any) -> Any:
    job = site.finish(site.client.submit(JobRequest.model_validate(request)).id)
    assert job.state == "done", job
    return job


def rows_of(site: Any, job: Any) -> dict[str, Any]:
    """The leaderboard's rows of a job, one by family; and that the comparison is there."""
    rows = site.client.get_leaderboard(job=job.id).rows
    (device,) = site.client.comparison(job.id).devices
    assert device.summary
    return {row.family: row for row in rows}


def test_a_network_by_name_is_trained_from_random_weights(site: Any, everything: Any) -> None:
    base = site.client.get_variant(rows_of(site, everything)["base"].variant)
    assert [record.epoch for record in base.curve] == [1, 2]


def test_every_family_is_on_the_leaderboard_and_in_the_comparison(site: Any, everything: Any) -> None:
    rows = rows_of(site, everything)
    assert {"base", "layer", "hybrid", "handcrafted"} <= rows.keys()
    assert {"filter", "filter_aligned"} & rows.keys()
    (device,) = site.client.comparison(everything.id).devices
    (target,) = device.targets
    shown = {contender.family for contender in target.contenders} | target.missing.keys()
    assert {"layer", "hybrid", "filter", "filter_aligned"} <= shown
    assert any("hybrid" in (duel.first.family, duel.second.family) for duel in target.duels)


def test_a_hybrid_comes_from_a_search_and_lands_on_its_target(site: Any, everything: Any) -> None:
    assert "search" in {task.kind for task in everything.tasks}
    hybrid = rows_of(site, everything)["hybrid"]
    assert hybrid.ratio.value <= 0.6 * 1.1


def test_an_iterative_schedule_trains_between_the_steps(site: Any, everything: Any) -> None:
    variant = site.client.get_variant(rows_of(site, everything)["layer"].variant)
    assert [record.epoch for record in variant.curve] == [1, 2]


def test_uploaded_weights_give_the_base_that_they_come_from(site: Any, everything: Any, tmp_path: Path) -> None:
    first = rows_of(site, everything)["base"]
    weights = site.client.download(first.downloads.weights, tmp_path / "weights.safetensors")
    model = {**EVERYTHING["model"], "weights": site.client.upload(weights, kind="weights")}
    job = finished(site, model=model, dataset=EVERYTHING["dataset"], **SMALL)
    rows = rows_of(site, job)
    assert rows.keys() == {"base", "layer"}
    assert rows["base"].accuracy == first.accuracy
    assert site.client.get_variant(rows["base"].variant).curve == []


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


def test_a_plugin_of_the_worker_is_offered_and_pruned(site: Any, dataset: dict[str, Any]) -> None:
    assert "acme_net" in {model.name for model in site.client.list_models()}
    rows = rows_of(site, finished(site, model={"name": "acme_net", "args": {"width": 6}}, dataset=dataset, **SMALL))
    assert rows.keys() == {"base", "layer"}
