"""A real HTTP server on a free port that gives scripted answers and keeps what it was asked."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedServer:
    """Answers in the order in which they were scripted; one without a script is a 599."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    script: list[tuple[int, bytes]] = field(default_factory=list)

    def say(self, value: Any, status: int = 200) -> None:
        self.script.append((status, json.dumps(value).encode()))

    def say_bytes(self, body: bytes = b"", status: int = 200) -> None:
        self.script.append((status, body))

    def drop(self) -> None:
        """Read the request and close the connection without an answer."""
        self.script.append((0, b""))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            scripted.asked.append(Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            status, answer = scripted.script.pop(0) if scripted.script else (599, b"")
            if status == 0:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            if self.command != "HEAD" and status != 204:
                self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_HEAD = answer

        def log_message(self, *_: object) -> None:
            """Keep the test's output quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        scripted.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield scripted
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in [name for name in os.environ if name.startswith("LAYERPRUNE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
