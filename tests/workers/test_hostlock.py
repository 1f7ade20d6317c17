from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest

from workers.hostlock import HostLock


@pytest.fixture
def threads() -> Iterator[list[Thread]]:
    started: list[Thread] = []
    yield started
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()


def run(threads: list[Thread], body: object) -> None:
    thread = Thread(target=body)  # type: ignore[arg-type]
    threads.append(thread)
    thread.start()


def test_builds_share_the_machine(tmp_path: Path) -> None:
    with HostLock(tmp_path / "locks").building(), HostLock(tmp_path / "locks").building():
        pass


def test_a_checkpoint_passes_when_nobody_waits(tmp_path: Path) -> None:
    waits: list[bool] = []
    with HostLock(tmp_path / "locks", on_wait=waits.append).building() as checkpoint:
        checkpoint()
    assert waits == []


def test_a_measurement_waits_for_a_build(tmp_path: Path, threads: list[Thread]) -> None:
    waits, entered = threading.Event(), threading.Event()

    def measure() -> None:
        with HostLock(tmp_path / "locks", on_wait=lambda waiting: waits.set()).measuring():
            entered.set()

    with HostLock(tmp_path / "locks").building():
        run(threads, measure)
        assert waits.wait(10)
        assert not entered.is_set()
    assert entered.wait(10)


def test_a_build_lets_a_waiting_measurement_pass_at_its_checkpoint(tmp_path: Path, threads: list[Thread]) -> None:
    waits, order = threading.Event(), []

    def measure() -> None:
        with HostLock(tmp_path / "locks", on_wait=lambda waiting: waits.set()).measuring():
            order.append("measured")

    with HostLock(tmp_path / "locks").building() as checkpoint:
        run(threads, measure)
        assert waits.wait(10)
        checkpoint()
        order.append("built on")
    assert order == ["measured", "built on"]


def test_a_waiting_measurement_stops_new_builds(tmp_path: Path, threads: list[Thread]) -> None:
    measurement_waits, build_waits, order = threading.Event(), threading.Event(), []

    def measure() -> None:
        with HostLock(tmp_path / "locks", on_wait=lambda waiting: measurement_waits.set()).measuring():
            order.append("measurement")

    def build() -> None:
        with HostLock(tmp_path / "locks", on_wait=lambda waiting: build_waits.set()).building():
            order.append("second build")

    with HostLock(tmp_path / "locks").building():
        run(threads, measure)
        assert measurement_waits.wait(10)
        run(threads, build)
        assert build_waits.wait(10)
    for thread in threads:
        thread.join(10)
    assert order == ["measurement", "second build"]


def test_measurements_take_turns(tmp_path: Path, threads: list[Thread]) -> None:
    waits = threading.Event()

    def measure() -> None:
        with HostLock(tmp_path / "locks", on_wait=lambda waiting: waits.set()).measuring():
            pass

    with HostLock(tmp_path / "locks").measuring():
        run(threads, measure)
        assert waits.wait(10)


def test_every_user_of_the_host_may_lock(tmp_path: Path) -> None:
    with ExitStack() as stack:
        stack.enter_context(HostLock(tmp_path / "locks").building())
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (tmp_path / "locks").iterdir()}
    assert modes == {"gate.lock": 0o666, "host.lock": 0o666}
    assert (tmp_path / "locks").stat().st_mode & 0o7777 == 0o1777


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERPRUNE_LOCK_DIR", str(tmp_path / "elsewhere"))
    with HostLock().measuring():
        assert (tmp_path / "elsewhere" / "host.lock").exists()
