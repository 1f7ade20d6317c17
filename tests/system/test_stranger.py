"""Somebody who knows nothing of LayerPrune brings a network that a script of theirs trained, and takes one home."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import closing
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerprune.api.jobs import JobRequest

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]

PLAIN = Path(__file__).parent / "plain"
JOB = {
    "pruning": {"methods": ["layer"], "criteria": ["weight_l1"], "amounts": [0.15]},
    "training": {"epochs": 1, "batch_size": 32},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """What the stranger's own script left, and the files that are made of it on their machine."""
    folder = tmp_path_factory.mktemp("stranger")
    run(PLAIN / "finetune.py", images, folder)
    report = run(
        "-m", "layerprune.cli", "import", folder / "checkpoint.pth", "--timm", "test_resnet", "--json",
        "-o", folder / "weights.safetensors",
    )  # fmt: skip
    assert json.loads(report)["classes"] == 4
    assert "state_dict_ema" in report
    shutil.make_archive(str(folder / "images"), "zip", images.parent, images.name)
    return folder


@pytest.fixture(scope="module")
def site(shared_site: Callable[..., Any]) -> Any:
    return shared_site()


@pytest.fixture(scope="module")
def model(site: Any, trained: Path) -> dict[str, Any]:
    """The network as jobs name it."""
    weights = site.client.upload(trained / "weights.safetensors", kind="weights")
    preprocess = json.loads((trained / "preprocess.json").read_text())
    expected = json.loads((trained / "report.json").read_text())["test_accuracy"]
    return {"name": "timm:test_resnet", "weights": weights, "preprocess": preprocess, "expected_accuracy": expected}


@pytest.fixture(scope="module")
def dataset(site: Any, trained: Path) -> dict[str, Any]:
    return {"name": "patterns", "upload": site.client.upload(trained / "images.zip", kind="data")}


@pytest.fixture(scope="module")
def rows(site: Any, model: dict[str, Any], dataset: dict[str, Any]) -> dict[str, Any]:
    """The leaderboard's rows of the finished job, by family."""
    job = site.client.submit(JobRequest.model_validate({"model": model, "dataset": dataset, **JOB}))
    done = site.finish(job.id)
    assert done.state == "done", done
    found = site.client.get_leaderboard(job=job.id).rows
    assert sorted(row.family for row in found) == ["base", "layer"]
    return {row.family: row for row in found}


def test_the_baseline_is_as_accurate_as_in_the_script_that_trained_it(
    site: Any, rows: dict[str, Any], model: dict[str, Any]
) -> None:
    own = model["expected_accuracy"]
    assert 0.5 < own < 1, "an accuracy that says nothing about preprocessing"
    base = site.client.get_variant(rows["base"].variant)
    assert base.test.final.n == 4 * 24
    assert base.test.final.correct / base.test.final.n == pytest.approx(own, abs=0.001)
    assert rows["base"].accuracy.value == pytest.approx(own, abs=0.001)


@pytest.mark.parametrize("family", ["base", "layer"])
def test_a_downloaded_network_answers_as_it_did_on_the_device(
    site: Any, rows: dict[str, Any], images: Path, tmp_path: Path, family: str
) -> None:
    row = rows[family]
    network = site.client.download(row.downloads.onnx, tmp_path / "network.onnx")
    preprocess = site.client.download(row.downloads.preprocess, tmp_path / "preprocess.json")
    run(PLAIN / "classify.py", network, preprocess, images / "test", tmp_path / "answers.json")
    answers = json.loads((tmp_path / "answers.json").read_text())
    right = [answers[name] == name.split("/")[0] for name in in_stored_order(images / "test")]
    assert right == stored_outcomes(site, row.measurement)


def test_weights_with_another_order_of_classes_are_stopped_before_scoring_with_the_cause(
    site: Any, model: dict[str, Any], dataset: dict[str, Any]
) -> None:
    sorted_classes = {**model["preprocess"], "classes": sorted(model["preprocess"]["classes"])}
    wrong = {**model, "preprocess": sorted_classes}
    job = site.client.submit(JobRequest.model_validate({"model": wrong, "dataset": dataset, **JOB}))
    ended = site.finish(job.id)
    assert (ended.state, ended.reason) == ("failed", "weights_mismatch")
    assert f"{model['expected_accuracy']:.2%} was expected" in ended.message
    assert "the classes in another order" in ended.message
    assert [task.kind for task in ended.tasks] == ["score"]
    assert site.client.get_leaderboard(job=job.id).total == 0


def test_the_lines_in_the_docs_are_the_ones_that_run_here() -> None:
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    block = next(part for part in text.split("```") if "InferenceSession" in part).removeprefix("python\n")
    assert textwrap.dedent(block).strip() in (PLAIN / "classify.py").read_text()


def in_stored_order(folder: Path) -> list[str]:
    """The images as docs/data.md says: the first of every class, then the second of every class, and so on."""
    classes = [
        sorted(path.relative_to(folder).as_posix() for path in each.iterdir()) for each in sorted(folder.iterdir())
    ]
    return [name for turn in zip_longest(*classes) for name in turn if name is not None]


def stored_outcomes(site: Any, measurement: str) -> list[bool]:
    """Which images the network answered rightly in the very session that was timed."""
    with closing(sqlite3.connect(site.data / "layerprune.db")) as database:
        packed, images = database.execute(
            "SELECT outcomes, n_images FROM measurement WHERE public_id = ?", [measurement]
        ).fetchone()
    return [bool(bit) for bit in np.unpackbits(np.frombuffer(packed, np.uint8))[:images]]


def run(*arguments: object) -> str:
    """Run Python as a user would; gives what it printed."""
    done = subprocess.run([sys.executable, *map(str, arguments)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
