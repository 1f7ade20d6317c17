"""Timings of other tools: stored once, listed apart, shown as not verified, and never among the ranked rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from layerprune.api.client import Client
from layerprune.api.errors import BadInput
from layerprune.cli.app import app

HUB = json.dumps({"execution_summary": {"all_inference_times": [3000, 4000, 5000]}, "execution_detail": []})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    path.write_text(HUB)
    return path


@pytest.fixture
def user(url: str, admin_token: str) -> Iterator[Client]:
    with Client(url, admin_token) as client:
        yield client


def test_an_import_says_what_the_tool_said(user: Client, file: Path) -> None:
    row = user.import_timings(file, device="Galaxy S24", model="resnet50", precision="int8", batch_size=1, note="w8a8")
    assert (row.tool, row.format, row.p50_ns, row.n_samples) == ("Qualcomm AI Hub", "ai-hub", 4_000_000, 3)
    assert (row.device, row.model, row.precision, row.batch_size, row.note) == (
        "Galaxy S24",
        "resnet50",
        "int8",
        1,
        "w8a8",
    )
    assert row.file == hashlib.sha256(HUB.encode()).hexdigest()
    assert user.list_external() == [row]


def test_the_same_file_is_kept_once_for_a_device_and_model(user: Client, file: Path) -> None:
    first = user.import_timings(file, device="d", model="m")
    assert user.import_timings(file, device="d", model="m", note="again") == first
    assert user.import_timings(file, device="d", model="other").id != first.id
    assert len(user.list_external()) == 2


def test_rows_are_listed_by_device_and_model(user: Client, file: Path) -> None:
    for device, model in (("a", "m"), ("b", "m"), ("b", "n")):
        user.import_timings(file, device=device, model=model)
    assert [(row.device, row.model) for row in user.list_external(device="b")] == [("b", "m"), ("b", "n")]
    assert [(row.device, row.model) for row in user.list_external(device="b", model="n")] == [("b", "n")]


def test_an_imported_row_is_on_no_leaderboard(user: Client, file: Path) -> None:
    user.import_timings(file, device="d", model="m")
    assert user.get_leaderboard().total == 0


def test_the_page_shows_it_apart_and_as_not_verified(client: httpx.Client, user: Client, file: Path) -> None:
    assert "Measured by others" not in client.get("/").text
    user.import_timings(file, device="<i>d</i>", model="m")
    page = client.get("/").text
    assert "Not verified and never ranked" in page
    assert "&lt;i&gt;d&lt;/i&gt;" in page
    assert "<i>d</i>" not in page
    assert "Measured by others" not in client.get("/?model=another").text


def test_a_file_that_no_tool_wrote_is_refused_and_not_kept(user: Client, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("fast!")
    with pytest.raises(BadInput, match="of none of the known formats"):
        user.import_timings(path, device="d", model="m")
    assert user.list_external() == []


def test_content_that_was_not_uploaded_is_refused(client: httpx.Client) -> None:
    answer = client.post("/v1/external", json={"digest": "0" * 64, "device": "d", "model": "m"})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "not_uploaded"


@pytest.mark.parametrize("change", [{"device": ""}, {"model": "a\nb"}, {"batch_size": 0}, {"p50_ns": 1}])
def test_a_request_that_is_not_as_described_is_refused(client: httpx.Client, change: dict[str, object]) -> None:
    body = {"digest": "0" * 64, "device": "d", "model": "m"} | change
    assert client.post("/v1/external", json=body).status_code == 422


def test_the_command_line_imports_and_says_what_was_understood(url: str, admin_token: str, file: Path) -> None:
    words = ["import-timings", str(file), "--device", "Galaxy S24", "--model", "resnet50", "--url", url]
    environment = {"LAYERPRUNE_TOKEN": admin_token}
    done = CliRunner().invoke(app, words, env=environment)
    assert done.exit_code == 0, done.output
    assert "resnet50 on Galaxy S24, by Qualcomm AI Hub: p50 4.000 ms over 3 runs" in done.output
    assert "never ranked" in done.output
    again = CliRunner().invoke(app, [*words, "--json"], env=environment)
    assert json.loads(again.stdout)["p50_ns"] == 4_000_000
