"""A worker speaks to a server whose certificate comes from an authority of one's own."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from layerprune.api.catalogue import Catalogue
from layerprune.api.client import Client
from layerprune.api.errors import BadInput
from layerprune.api.workers import DeviceSpec, WorkerRegistration
from workers.config import WorkerSettings
from workers.registration import OwnToken, register
from workers.stopping import Stop


@dataclass(frozen=True)
class Authority:
    """A private authority and the certificate that it gave to `localhost`, as files."""

    certificate: Path
    server_certificate: Path
    server_key: Path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make an authority with")
    folder = tmp_path_factory.mktemp("authority")

    def openssl(*arguments: str) -> None:
        done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    extension = ("-addext", "keyUsage=critical,keyCertSign")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Our authority", *extension)
    openssl("req", *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", "-out", "server.pem", "-days", "2", *signing)
    return Authority(folder / "ca.pem", folder / "server.pem", folder / "server.key")


@pytest.fixture
def https(app: FastAPI, authority: Authority) -> Iterator[str]:
    """The address of the real server, served with TLS."""
    config = uvicorn.Config(
        app,
        port=0,
        log_config=None,
        ws="none",
        timeout_graceful_shutdown=5,
        ssl_certfile=authority.server_certificate,
        ssl_keyfile=str(authority.server_key),
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn-tls")
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    yield f"https://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_a_worker_registers_where_the_authority_is_named(
    https: str, authority: Authority, admin_token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    settings = WorkerSettings(name="board", data=tmp_path / "worker", device="board", url=https, token=admin_token)
    settings.folder.mkdir(parents=True)
    registration = WorkerRegistration(
        name="board",
        roles=["measure"],
        device=DeviceSpec(name="board"),
        catalogue=Catalogue(),
        incarnation="incarnation-1",
    )
    stop = Stop()
    try:
        with register(settings, registration, OwnToken(settings.folder / "token"), stop) as client:
            assert client.url == https
            assert client.claim(0) is None
    finally:
        stop.close()


def test_without_the_authority_the_worker_is_told_how_to_name_it(
    https: str, admin_token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    started = time.monotonic()
    with Client(https, admin_token) as client, pytest.raises(BadInput, match="is not trusted here") as caught:
        client.list_devices()
    assert "SSL_CERT_FILE" in caught.value.remedy
    assert time.monotonic() - started < 2, "a certificate does not get better by asking again"


def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(BadInput, match=r"cannot read the certificates in .*missing\.pem"):
        Client("https://localhost:1", "lp_token")
    (tmp_path / "empty.pem").write_text("no certificate\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    with pytest.raises(BadInput, match=r"empty\.pem"):
        Client("https://localhost:1", "lp_token")
