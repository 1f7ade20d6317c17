"""A real server and a real worker as processes that a test may kill and start again."""

from __future__ import annotations

import colorsys
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from layerprune.api.client import Client
from layerprune.api.errors import LayerPruneError
from layerprune.api.jobs import JobRequest, JobView, TaskView

START_S = 120.0
JOB_S = 600.0


class Site:
    """One data folder with its server and its worker."""

    def __init__(self, root: Path) -> None:
        self.data = root / "data"
        self.fault_flag = root / "fault-struck"
        self.lease_s = 60
        self._root = root
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._seen: set[psutil.Process] = set()

    def start_server(self, **environment: str) -> None:
        self.server = self._start("server", "serve", "--port", str(self._port), **environment)
        self.wait_until(self._answers, within_s=START_S)

    @cached_property
    def client(self) -> Client:
        """The user's client; it outlives a server that is killed and started again."""
        return Client(self.url, (self.data / "admin-token").read_text().strip())

    def start_worker(self, *arguments: str, **environment: str) -> None:
        self.worker = self._start(
            "worker", "worker", "--device", "local-cpu", "--url", self.url, *arguments, **environment
        )
        started = time.time_ns() // 1000
        self.wait_until(
            lambda: any((device.last_seen_at or 0) > started for device in self.client.list_devices()),
            within_s=START_S,
        )

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill one process alone, as the kernel would; what it had started must go by itself."""
        self.tree()
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Stop worker and server as a user would, then insist on it."""
        for process in (self.worker, self.server):
            process.send_signal(signal.SIGTERM)
        for process in (self.worker, self.server):
            try:
                process.wait(20)
            finally:
                process.kill()
        self.client.close()

    def tree(self) -> list[psutil.Process]:
        """List the worker and all that it has started, and remember them."""
        try:
            root = psutil.Process(self.worker.pid)
            found = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        self._seen.update(found)
        return found

    def left_over(self) -> list[psutil.Process]:
        """List the processes of workers that were started here, were seen in a tree, and still run."""
        return [process for process in self._seen if _runs(process)]

    def task_child(self) -> psutil.Process | None:
        """Find the process that runs a task: its working directory is the task's folder."""
        for process in self.tree():
            try:
                if Path(process.cwd()).parent.name == "tasks":
                    return process
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return None

    def submit(self, **changes: object) -> str:
        """Submit a job that is as small as a real one can be: one fine-tuned variant, measured against its base."""
        body = {
            "model": {"name": "cifar:resnet20"},
            "dataset": {"name": "digits"},
            "pruning": {"methods": ["layer"], "criteria": ["weight_l1"], "amounts": [0.3]},
            "training": {"epochs": 1, "base_epochs": 1},
            **changes,
        }
        return self.client.submit(JobRequest.model_validate(body)).id

    def running_task(self, job_id: str, kind: str, phase: str = "") -> TaskView | None:
        """Find a leased task of that kind whose progress is in that phase."""
        for task in self.client.get_job(job_id).tasks:
            if task.kind == kind and task.state == "leased" and task.progress and phase in task.progress.phase:
                return task
        return None

    def finish(self, job_id: str) -> JobView:
        """Wait for the job's end."""
        self.wait_until(lambda: self.client.get_job(job_id).state in ("done", "failed", "cancelled"), within_s=JOB_S)
        return self.client.get_job(job_id)

    def wait_until(self, condition: Callable[[], object], *, within_s: float = START_S) -> None:
        """Wait for a condition; fails with the end of the logs when it does not come true in time."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, self._logs()
            time.sleep(0.05)

    def _start(self, name: str, command: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("LAYERPRUNE_")}
        settings = {
            "LAYERPRUNE_LEASE_S": str(self.lease_s),
            "LAYERPRUNE_HEARTBEAT_S": "1",
            "LAYERPRUNE_LOCK_DIR": str(self._root / "locks"),
            "LAYERPRUNE_FAULT_FLAG": str(self.fault_flag),
        }
        with (self._root / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "layerprune.cli", command, "--data", str(self.data), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**inherited, **settings, **environment},
            )

    def _answers(self) -> bool:
        assert self.server.poll() is None, self._logs()
        try:
            with Client(self.url, "none", retry_waits_s=()) as client:
                client.check_health()
        except LayerPruneError:
            return False
        return True

    def _logs(self) -> str:
        logs = {path.name: path.read_text(errors="replace")[-3000:] for path in self._root.glob("*.log")}
        return "\n".join(f"--- {name}\n{text}" for name, text in logs.items())


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Start server and worker, each with the fault that it is to die by: `make_site(worker="worker.uploaded")`.

    Leases are longer than a restart takes: whatever goes on sooner does so because the restart was noticed.
    """
    site = Site(tmp_path)

    def make(*, server: str = "", worker: str = "", lease_s: int = 60) -> Site:
        site.lease_s = lease_s
        site.start_server(LAYERPRUNE_FAULT=server)
        site.start_worker(LAYERPRUNE_FAULT=worker)
        return site

    yield make
    site.tree()
    site.stop()
    site.wait_until(lambda: not site.left_over(), within_s=5)


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    """Start a server and a worker for all tests of a file; takes the worker's options and environment."""
    site = Site(tmp_path_factory.mktemp("site"))

    def make(*arguments: str, **environment: str) -> Site:
        site.start_server()
        site.start_worker(*arguments, **environment)
        return site

    yield make
    site.stop()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of JPEGs of no common size or shape, none of them square: train, val and test of four classes."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for part, count in {"train": 56, "val": 12, "test": 24}.items():
        for name in PATTERNS:
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                short, long = rng.integers(72, 90), rng.integers(100, 150)
                size = (short, long) if rng.random() < 0.5 else (long, short)
                Image.fromarray(draw(name, *size, rng)).save(folder / f"{number:02}.jpg", quality=90)
    return root


PATTERNS = ("bars", "checks", "posts", "rings")


def draw(name: str, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a noisy pattern in two colours, uint8 H x W x 3."""
    y, x = np.mgrid[:height, :width] - np.array([height, width]).reshape(2, 1, 1) * rng.uniform(0.3, 0.7, (2, 1, 1))
    angle = rng.uniform(-0.25, 0.25)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    pitch = rng.uniform(7, 14)
    waves = {"bars": [v], "posts": [u], "checks": [u, v], "rings": [np.hypot(u, v)]}[name]
    wave = np.prod([np.sin(2 * np.pi * each / pitch) for each in waves], axis=0)[..., None]
    first, second = (np.array(colorsys.hsv_to_rgb(rng.random(), 0.6, rng.uniform(0.3, 1))) for _ in range(2))
    noisy = np.where(wave > 0, first, second) + rng.normal(0, 0.35, (height, width, 1))
    return np.asarray(np.clip(noisy, 0, 1) * 255, np.uint8)
