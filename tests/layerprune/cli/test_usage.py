from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

COMMANDS = (
    "demo", "up", "serve", "worker", "login", "import", "submit", "jobs", "watch", "cancel", "leaderboard",
    "compare", "models", "datasets", "criteria", "devices",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(layerprune: Run, command: str) -> None:
    done = layerprune(command, "--help", COLUMNS="200")
    assert done.returncode == 0
    assert f"layerprune {command}" in done.stdout.split("Options")[0]


def test_no_token_is_one_sentence_and_a_remedy(layerprune: Run) -> None:
    done = layerprune("jobs")
    assert done.returncode == 1
    assert done.stdout == ""
    sentence, remedy = done.stderr.strip().splitlines()
    assert sentence == "Error: there is no token for http://127.0.0.1:8000"
    assert "layerprune up" in remedy


def test_no_server_is_one_sentence_and_a_remedy(layerprune: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    done = layerprune("models", LAYERPRUNE_URL=url, LAYERPRUNE_TOKEN="lp_x")
    assert done.returncode == 1
    assert url in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["jobs", "--state", "asleep"],
        ["submit", "--model", "cifar:resnet20"],
        ["worker", "--roles", "dance"],
        ["worker", "--roles", "measure"],
        ["up", "--port", "70000"],
    ],
)
def test_wrong_usage_is_exit_code_2(layerprune: Run, arguments: list[str]) -> None:
    done = layerprune(*arguments)
    assert done.returncode == 2
    assert "Usage" in done.stderr


def submit(layerprune: Run, *arguments: str) -> subprocess.CompletedProcess[str]:
    return layerprune("submit", "--model", "cifar:resnet20", "--dataset", "digits", *arguments, LAYERPRUNE_TOKEN="lp_x")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--epochs", "0"], "training.epochs: Input should be greater than or equal to 1 (it is 0)"),
        (["--budget", "lavish"], "measure.budget: Input should be 'quick', 'standard' or 'thorough' (it is 'lavish')"),
        (["--methods", "quantise"], "pruning.methods.0"),
        (["--ratio", "0.7", "--amount", "0.5"], "either targets or amounts"),
    ],
)
def test_bad_values_are_named_before_anything_is_sent(layerprune: Run, arguments: list[str], named: str) -> None:
    done = submit(layerprune, *arguments)
    assert done.returncode == 2
    assert named in done.stderr


def test_a_request_file_and_its_parts_do_not_mix(layerprune: Run, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text("{}")
    done = submit(layerprune, "--file", "request.json")
    assert done.returncode == 2
    assert "Leave out either --file or dataset, model." in done.stderr


def test_a_broken_request_file_is_named(layerprune: Run, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text("{'model': 1}")
    done = layerprune("submit", "--file", "request.json")
    assert done.returncode == 2
    assert "cannot read a request from request.json" in done.stderr


def test_a_misspelt_field_in_a_request_is_named(layerprune: Run) -> None:
    request = '{"model": {"name": "m"}, "dataset": {"name": "d"}, "trainings": {}}'
    done = layerprune("submit", "--file", "-", stdin=request)
    assert done.returncode == 2
    assert "trainings: Extra inputs are not permitted" in done.stderr


@pytest.mark.parametrize("command", ["up", "serve"])
def test_a_taken_port_is_named_with_the_way_out(layerprune: Run, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = layerprune(command, "--port", port)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "--port 0" in done.stderr
