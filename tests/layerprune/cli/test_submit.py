"""The `submit` command with files of the user's: they are uploaded, listed under their names, and named in the job."""

from __future__ import annotations

import json
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with weights, images and a preprocessing."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "mine.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<f", 1.0))
    with zipfile.ZipFile(tmp_path / "birds.zip", "w") as archive:
        archive.writestr("robin/1.png", b"1")
        archive.writestr("wren/1.png", b"2")
    (tmp_path / "see.json").write_text(json.dumps({"size": 32, "mean": [0.4] * 3, "std": [0.2] * 3}))
    return tmp_path


def submitted(client: httpx.Client) -> dict[str, Any]:
    (job,) = client.get("/v1/jobs").json()["jobs"]
    return dict(job["request"])


@pytest.mark.usefixtures("worker", "files")
def test_files_are_uploaded_and_named_in_the_job(
    layerprune: Run, url: str, admin_token: str, client: httpx.Client
) -> None:
    done = layerprune(
        *("submit", "--model", "cifar:resnet20", "--weights", "mine.safetensors", "--preprocess", "see.json"),
        *("--dataset", "birds", "--dataset-file", "birds.zip", "--rival", "cifar:resnet20"),
        *("--method", "layer,hybrid", "--schedule", "iterative:4", "--max-build-hours", "2"),
        LAYERPRUNE_URL=url,
        LAYERPRUNE_TOKEN=admin_token,
    )
    assert done.returncode == 0, done.stderr
    request = submitted(client)
    uploads = {one["name"]: one["digest"] for one in client.get("/v1/uploads").json()["uploads"]}
    assert request["model"]["weights"] == uploads["mine.safetensors"]
    assert request["dataset"]["upload"] == uploads["birds.zip"]
    assert request["model"]["preprocess"]["mean"] == [0.4] * 3
    assert request["training"]["schedule"] == {"kind": "iterative", "steps": 4}
    assert (request["pruning"]["methods"], request["pruning"]["max_build_hours"]) == (["layer", "hybrid"], 2.0)
    assert [rival["name"] for rival in request["rivals"]] == ["cifar:resnet20"]


@pytest.mark.usefixtures("worker")
def test_a_path_on_the_workers_disks_is_named(
    layerprune: Run, url: str, admin_token: str, client: httpx.Client
) -> None:
    arguments = ("submit", "--model", "cifar:resnet20", "--dataset-path", "/data/birds")
    done = layerprune(*arguments, LAYERPRUNE_URL=url, LAYERPRUNE_TOKEN=admin_token)
    assert done.returncode == 0, done.stderr
    assert submitted(client)["dataset"]["path"] == "/data/birds"


@pytest.mark.usefixtures("worker", "files")
def test_a_file_that_is_something_else_is_refused_before_there_is_a_job(
    layerprune: Run, url: str, admin_token: str, client: httpx.Client
) -> None:
    arguments = ("submit", "--onnx", "birds.zip", "--dataset", "digits")
    done = layerprune(*arguments, LAYERPRUNE_URL=url, LAYERPRUNE_TOKEN=admin_token)
    assert done.returncode == 2
    assert "the ONNX file is refused" in done.stderr
    assert client.get("/v1/jobs").json()["jobs"] == []


def test_a_file_that_is_not_there_is_wrong_usage(layerprune: Run) -> None:
    done = layerprune("submit", "--onnx", "none.onnx", "--dataset", "digits", LAYERPRUNE_TOKEN="lp_x")
    assert done.returncode == 2
    assert "none.onnx" in done.stderr
