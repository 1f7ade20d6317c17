"""`layerprune up` as a user runs it: real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from layerprune.api.client import Client
from layerprune.api.dataset import DatasetSpec
from layerprune.api.jobs import JobRequest
from layerprune.api.network import ModelSpec

pytestmark = pytest.mark.processes

Run = Callable[..., "subprocess.CompletedProcess[str]"]
DEADLINE_S = 90


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


@contextmanager
def running(data: Path) -> Iterator[psutil.Popen]:
    """Start `up` on a free port, wait until it says where it answers, and kill it at the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAYERPRUNE_")}
    output = data.with_suffix(".out")
    with output.open("wb") as out:
        process = psutil.Popen(
            [sys.executable, "-m", "layerprune.cli", "up", "--data", str(data), "--port", "0"],
            stdout=out,
            stderr=out,
            env=environment,
        )
    try:
        wait_for(lambda: "answers at" in output.read_text() or process.poll() is not None, f"up:\n{output.read_text()}")
        assert process.poll() is None, output.read_text()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def children(process: psutil.Popen, command: str) -> list[psutil.Process]:
    """Return the live children that run this command."""
    found = []
    for each in process.children():
        try:
            if command in each.cmdline():
                found.append(each)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up") / "data"


@pytest.fixture(scope="module")
def up(data: Path) -> Iterator[psutil.Popen]:
    with running(data) as process:
        yield process


def test_data_and_token_are_for_their_owner_alone(up: psutil.Popen, data: Path) -> None:
    assert data.stat().st_mode & 0o777 == 0o700
    assert (data / "admin-token").stat().st_mode & 0o777 == 0o600


def test_the_command_line_finds_address_and_token_in_the_data_folder(
    up: psutil.Popen, data: Path, layerprune: Run
) -> None:
    done = layerprune("devices", LAYERPRUNE_DATA=str(data))
    assert done.returncode == 0, done.stderr
    assert "local-cpu" in done.stdout


@pytest.mark.parametrize(
    ("command", "named"), [("models", "cifar:resnet20"), ("datasets", "digits"), ("criteria", "imprinting")]
)
def test_the_catalogue_is_listed(up: psutil.Popen, data: Path, layerprune: Run, command: str, named: str) -> None:
    assert f'"{named}"' in layerprune(command, "--json", "--data", str(data)).stdout


def test_the_printed_link_signs_a_browser_in_once(up: psutil.Popen, data: Path) -> None:
    words = data.with_suffix(".out").read_text().split()
    link = next(word for word in words if "/login?token=" in word)
    with httpx.Client(trust_env=False) as browser:
        assert browser.get(link).status_code == 303
        assert "layerprune_session" in browser.cookies
        assert browser.get(link).status_code == 401


def test_an_unknown_name_is_one_sentence_with_the_known_ones(up: psutil.Popen, data: Path, layerprune: Run) -> None:
    done = layerprune("submit", "--model", "cifar:resnet21", "--dataset", "digits", "--data", str(data))
    assert done.returncode == 2
    assert "unknown model 'cifar:resnet21'; known: " in done.stderr


def test_a_job_is_submitted_listed_watched_and_cancelled(up: psutil.Popen, data: Path, layerprune: Run) -> None:
    home = {"LAYERPRUNE_DATA": str(data)}
    submitted = layerprune("submit", "--model", "cifar:resnet20", "--dataset", "digits", "--ratio", "0.7", **home)
    assert "trainings, about" in submitted.stdout
    job_id = submitted.stdout.split()[1].rstrip(":")
    assert job_id in layerprune("jobs", **home).stdout
    assert layerprune("cancel", job_id, **home).stdout == f"Job {job_id} is cancelled.\n"
    watched = layerprune("watch", job_id, **home)
    assert watched.returncode == 1
    assert watched.stdout.startswith("cancelled")


def test_a_second_one_on_the_same_folder_is_refused_by_process_number(
    up: psutil.Popen, data: Path, layerprune: Run
) -> None:
    done = layerprune("up", "--data", str(data), "--port", "0")
    assert done.returncode == 1
    assert f"is served already, by process {up.pid}" in done.stderr


def test_a_dead_server_is_started_again_at_the_same_address(up: psutil.Popen, data: Path) -> None:
    [server] = children(up, "serve")
    server.kill()
    with Client(data=data) as client:
        wait_for(lambda: server not in children(up, "serve"), "the death of the server")
        # The socket outlives the server: this waits for the new one instead of failing.
        client.check_health()
    assert children(up, "serve")


def test_a_dead_worker_is_started_again(up: psutil.Popen, data: Path) -> None:
    [worker] = children(up, "worker")
    worker.kill()
    wait_for(lambda: [each for each in children(up, "worker") if each != worker], "a new worker")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_however_it_ends_nothing_is_left_behind(tmp_path: Path, number: signal.Signals, code: int) -> None:
    data = tmp_path / "data"
    with running(data) as process:
        with Client(data=data) as client:
            job = client.submit(JobRequest(model=ModelSpec(name="cifar:resnet20"), dataset=DatasetSpec(name="digits")))
            wait_for(lambda: client.get_job(job.id).state == "running", "the first task to start")
        family = process.children(recursive=True)
        assert len(family) >= 2
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == code
        wait_for(lambda: not any(each.is_running() for each in family), "the end of all children")
