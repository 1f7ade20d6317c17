"""Whatever is killed when, a job finishes after a restart: nothing lost, nothing counted twice, no process left."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]


def kill_worker_while(kind: str, phase: str = "") -> Callable[[Any, str], None]:
    def strike(site: Any, job: str) -> None:
        site.wait_until(lambda: site.running_task(job, kind, phase) and site.task_child())
        site.kill(site.worker)
        site.wait_until(lambda: not site.left_over(), within_s=5)
        site.start_worker()

    return strike


def kill_worker_after_uploads(site: Any, job: str) -> None:
    site.worker.wait(120)
    assert site.worker.returncode == -signal.SIGKILL
    site.start_worker()


def kill_server_before_its_answer(site: Any, job: str) -> None:
    site.server.wait(120)
    assert site.server.returncode == -signal.SIGKILL
    site.start_server()


def silence_server_for_longer_than_the_lease(site: Any, job: str) -> None:
    site.wait_until(lambda: site.running_task(job, "score", "training") and site.task_child())
    child = site.task_child()
    os.kill(site.server.pid, signal.SIGSTOP)
    site.wait_until(lambda: not child.is_running(), within_s=20)
    os.kill(site.server.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("strike", "start", "epochs", "repeated"),
    [
        pytest.param(kill_worker_while("score", "training"), {}, 10, "score", id="worker-in-training"),
        pytest.param(kill_worker_while("measure"), {}, 1, "measure", id="worker-in-measuring"),
        pytest.param(kill_worker_after_uploads, {"worker": "worker.uploaded"}, 1, "score", id="worker-after-upload"),
        pytest.param(kill_worker_after_uploads, {"worker": "worker.spooled"}, 1, None, id="worker-before-its-report"),
        pytest.param(
            kill_server_before_its_answer, {"server": "server.result_committed"}, 1, None, id="server-in-commit"
        ),
        pytest.param(silence_server_for_longer_than_the_lease, {"lease_s": 6}, 30, "score", id="server-silent"),
    ],
)
def test_a_job_survives(
    make_site: Any, strike: Callable[[Any, str], None], start: dict[str, Any], epochs: int, repeated: str | None
) -> None:
    """Only what was not reported yet is `repeated`; the base trains `epochs` epochs, enough to strike meanwhile."""
    site = make_site(**start)
    job = site.submit(training={"epochs": 1, "base_epochs": epochs})
    strike(site, job)
    done = site.finish(job)
    assert done.state == "done", done
    # On a busy machine the measurement may come out doubtful and be repeated once, whoever survived what.
    tasks = [task for task in done.tasks if not task.repeats]
    assert [task.state for task in tasks] == ["done"] * 3
    for task in tasks:
        lost = ["failed"] if task.kind == repeated else []
        assert [attempt.state for attempt in task.attempts] == [*lost, "done"]
    with closing(sqlite3.connect(site.data / "layerprune.db")) as database:
        rows = database.execute("SELECT plan_hash, count(*) FROM variant GROUP BY plan_hash").fetchall()
        assert [count for _, count in rows] == [1, 1]
        roles = database.execute(
            "SELECT role, count(*) FROM measurement WHERE NOT superseded GROUP BY role ORDER BY role"
        ).fetchall()
        assert roles == [("aa", 1), ("base", 1), ("variant", 1)]
    assert site.client.get_leaderboard().total == 2
    assert not any((site.data / "workers" / "local-cpu" / "spool").iterdir())


@pytest.mark.parametrize(
    ("kind", "phase", "base_epochs", "budget"),
    [("score", "training", 500, "quick"), ("measure", "timing", 1, "thorough")],
    ids=["in training", "in measuring"],
)
def test_cancelling_stops_it_within_two_seconds(
    make_site: Any, kind: str, phase: str, base_epochs: int, budget: str
) -> None:
    site = make_site()
    job = site.submit(training={"epochs": 1, "base_epochs": base_epochs}, measure={"budget": budget})
    site.wait_until(lambda: site.running_task(job, kind, phase) and site.task_child(), within_s=120)
    child = site.task_child()
    site.client.cancel(job)
    site.wait_until(lambda: not child.is_running(), within_s=2)
    assert site.finish(job).state == "cancelled"
