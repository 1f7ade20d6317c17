"""The agent against a real server, with small tasks in place of the real kinds."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from layerprune.api.client import Client
from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import Conflict, NotAuthenticated
from layerprune.api.jobs import JobRequest
from layerprune.api.network import ModelSpec
from layerprune.api.wire import Wire
from layerprune.api.workers import FailureReport
from server.app import create_app
from server.auth import default_project
from server.config import Settings
from server.db import session_scope
from server.models import Attempt, Event, Job, Task, Token
from server.models import Worker as WorkerRow
from server.tasks import queue
from workers.config import WorkerSettings
from workers.kinds import KINDS, Kind
from workers.spool import Report, Spool
from workers.worker import Worker

Probe = Callable[..., Kind]
WaitUntil = Callable[..., None]


class Text(Wire):
    text: str


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """A server on the real clock, with leases that are short enough to see them end."""
    return create_app(settings.model_copy(update={"lease_s": 4.0, "heartbeat_s": 0.5}))


@pytest.fixture
def worker_settings(url: str, admin_token: str, tmp_path: Path, lock_folder: Path) -> WorkerSettings:
    return WorkerSettings(
        name="probe",
        data=tmp_path / "worker-data",
        roles=("measure",),
        device="probe-device",
        url=url,
        token=admin_token,
        claim_wait_s=0.3,
        lock_folder=lock_folder,
    )


def running(worker: Worker) -> Future[None]:
    """Run a worker in a thread; the future holds what it raised."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            future.set_result(worker.run())
        except Exception as error:
            future.set_exception(error)

    Thread(target=run).start()
    return future


@contextmanager
def working(settings: WorkerSettings) -> Iterator[None]:
    """Have a worker run, stop it at the end, and pass on what it raised."""
    worker = Worker(settings)
    run = running(worker)
    try:
        yield
    finally:
        worker.stop()
        run.result(20)


@pytest.fixture
def submit(app: FastAPI, monkeypatch: pytest.MonkeyPatch, probe: Probe) -> Callable[[str, str], int]:
    """Give a function that queues a task which runs the named probe; returns the task's key."""

    def submit(name: str, text: str = "") -> int:
        monkeypatch.setitem(KINDS, "score", probe(name))
        request = JobRequest(model=ModelSpec(name="cifar:resnet20"), dataset=DatasetSpec(name="digits"))
        now = time.time_ns() // 1000
        with session_scope(app) as session:
            job = Job(
                project_id=default_project(session).id,
                request=request.model_dump(mode="json"),
                request_hash="",
                model="cifar:resnet20",
                dataset="digits",
                estimate={},
                created_at=now,
                expires_at=now + 10**12,
            )
            session.add(job)
            session.flush()
            task = queue.create(
                session,
                job=job,
                kind="score",
                key="",
                title=name,
                payload=Text(text=text),
                inputs=[],
                role="measure",
                now=now,
            )
            return task.id

    return submit


@pytest.fixture
def look(app: FastAPI) -> Callable[[int], Any]:
    """Give a function that reads a task with its attempts, as (state, reason), and its progress phases."""

    def look(task_id: int) -> Any:
        with session_scope(app) as session:
            task = session.get_one(Task, task_id)
            attempts = session.scalars(select(Attempt).where(Attempt.task_id == task_id).order_by(Attempt.id))
            events = session.scalars(select(Event).where(Event.task_id == task_id, Event.kind == "progress"))
            return (
                task.state,
                task.reason,
                [(attempt.state, attempt.reason) for attempt in attempts],
                [event.data.get("phase") for event in events],
            )

    return look


def test_a_failure_arrives_with_its_reason(
    worker_settings: WorkerSettings, submit: Any, look: Any, wait_until: WaitUntil
) -> None:
    task = submit("fail", "diverged")
    with working(worker_settings):
        wait_until(lambda: look(task)[0] == "failed")
    assert look(task)[:3] == ("failed", "diverged", [("failed", "diverged")])


def test_a_result_that_the_server_refuses_is_a_failure(
    worker_settings: WorkerSettings, submit: Any, look: Any, wait_until: WaitUntil
) -> None:
    task = submit("echo", "this is no score")
    with working(worker_settings):
        wait_until(lambda: look(task)[0] == "failed")
    assert look(task)[1] == "bad_input"


def test_progress_arrives_soon(
    worker_settings: WorkerSettings, submit: Any, look: Any, wait_until: WaitUntil, tmp_path: Path
) -> None:
    task = submit("hang", str(tmp_path / "pids"))
    with working(worker_settings):
        wait_until(lambda: look(task)[3] == ["hanging"])


def test_a_lease_is_kept_for_as_long_as_the_task_runs(
    worker_settings: WorkerSettings, submit: Any, look: Any, wait_until: WaitUntil, tmp_path: Path
) -> None:
    task = submit("hang", str(tmp_path / "pids"))
    with working(worker_settings):
        wait_until((tmp_path / "pids").exists)
        end = time.monotonic() + 5.0
        wait_until(lambda: time.monotonic() > end)
        assert look(task)[2] == [("leased", None)]


def test_cancelling_kills_the_child_within_two_seconds(
    worker_settings: WorkerSettings,
    submit: Any,
    app: FastAPI,
    wait_until: WaitUntil,
    tmp_path: Path,
    is_alive: Callable[[int], bool],
) -> None:
    task = submit("hang", str(pids := tmp_path / "pids"))
    with working(worker_settings):
        wait_until(lambda: pids.exists() and " " in pids.read_text())
        with session_scope(app) as session:
            queue.cancel_job(session, session.get_one(Task, task).job, time.time_ns() // 1000)
        wait_until(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()), within_s=2)


def test_the_next_attempt_goes_on_from_the_state_that_the_last_one_left(
    worker_settings: WorkerSettings, submit: Any, app: FastAPI, wait_until: WaitUntil, tmp_path: Path
) -> None:
    task = submit("save", str(found := tmp_path / "found"))

    def named() -> str | None:
        with session_scope(app) as session:
            return session.scalars(select(Attempt.checkpoint).where(Attempt.task_id == task)).first()

    with working(worker_settings):
        wait_until(lambda: named() is not None)
    place = tmp_path / "elsewhere"
    with working(dataclasses.replace(worker_settings, name="another", data=place, device="other")):
        wait_until(lambda: found.exists() and found.read_text().startswith("state "))


def test_a_worker_that_stops_gives_its_task_back_at_once(
    worker_settings: WorkerSettings, submit: Any, look: Any, wait_until: WaitUntil, tmp_path: Path
) -> None:
    task = submit("hang", str(tmp_path / "pids"))
    with working(worker_settings):
        wait_until((tmp_path / "pids").exists)
    assert look(task)[:3] == ("queued", None, [("failed", "given_back")])


def test_a_worker_whose_token_is_revoked_kills_its_child_and_ends(
    worker_settings: WorkerSettings,
    submit: Any,
    app: FastAPI,
    wait_until: WaitUntil,
    tmp_path: Path,
    is_alive: Callable[[int], bool],
) -> None:
    submit("hang", str(pids := tmp_path / "pids"))
    run = running(Worker(worker_settings))
    wait_until(lambda: pids.exists() and " " in pids.read_text())
    with session_scope(app) as session:
        for token in session.scalars(select(Token).where(Token.kind == "worker")):
            token.revoked_at = 1
    with pytest.raises(NotAuthenticated, match="revoked"):
        run.result(20)
    assert not any(is_alive(int(pid)) for pid in pids.read_text().split())


def test_the_own_token_is_kept_private_and_used_again(
    worker_settings: WorkerSettings, app: FastAPI, wait_until: WaitUntil
) -> None:
    token = worker_settings.folder / "token"

    def incarnations() -> set[str]:
        with session_scope(app) as session:
            return set(session.scalars(select(WorkerRow.incarnation)))

    with working(worker_settings):
        wait_until(token.exists)
    first, secret = incarnations(), token.read_text()
    with working(worker_settings):
        wait_until(lambda: incarnations() != first)
    assert token.read_text() == secret
    assert token.stat().st_mode & 0o777 == 0o600


def test_a_worker_whose_token_is_unknown_registers_anew(worker_settings: WorkerSettings, wait_until: WaitUntil) -> None:
    worker_settings.folder.mkdir(parents=True)
    token = worker_settings.folder / "token"
    token.write_text("lp_worker_of_another_server")
    with working(worker_settings):
        wait_until(lambda: token.read_text() != "lp_worker_of_another_server")


def test_without_any_valid_token_it_ends_with_a_clear_error(worker_settings: WorkerSettings) -> None:
    settings = WorkerSettings(**{**vars(worker_settings), "token": "lp_nonsense"})
    with pytest.raises(NotAuthenticated, match="token"):
        Worker(settings).run()


def test_a_second_worker_of_the_same_name_is_refused(worker_settings: WorkerSettings, wait_until: WaitUntil) -> None:
    with working(worker_settings):
        wait_until((worker_settings.folder / "token").exists)
        with pytest.raises(Conflict, match="runs already"):
            Worker(worker_settings).run()


def test_a_report_that_an_earlier_life_left_is_delivered_before_its_lease_ends(
    worker_settings: WorkerSettings, submit: Any, look: Any, url: str, wait_until: WaitUntil
) -> None:
    with working(worker_settings):
        wait_until((worker_settings.folder / "token").exists)
    task = submit("echo")
    with Client(url, (worker_settings.folder / "token").read_text()) as client:
        claimed = client.claim(0)
    assert claimed is not None
    failure = FailureReport(attempt_no=claimed.attempt_no, reason="untraceable", message="found by the earlier life")
    Spool(worker_settings.folder / "spool").put(
        Report(attempt_id=claimed.attempt_id, lease_token=claimed.lease_token, failure=failure)
    )
    with working(worker_settings):
        wait_until(lambda: look(task)[0] == "failed")
    assert look(task)[2] == [("failed", "untraceable")]
    assert list(Spool(worker_settings.folder / "spool")) == []
