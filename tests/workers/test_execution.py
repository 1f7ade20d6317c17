from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from workers.child import TaskFailure
from workers.children import Zygote
from workers.execution import Executor
from workers.hostlock import HostLock
from workers.kinds import Kind
from workers.stopping import Stop

ROLES = ("build", "measure")
Probe = Callable[..., Kind]


@pytest.fixture
def run(executor: Executor, tmp_path: Path) -> Callable[..., Any]:
    """Give a function that runs a probe in a folder of its own."""
    count = iter(range(100))

    def run(kind: Kind, text: str = "", *, deadline_s: float = 60) -> Any:
        folder = tmp_path / f"task{next(count)}"
        folder.mkdir()
        return executor.execute(kind, {"text": text}, folder, deadline_s=deadline_s)

    return run


@pytest.mark.parametrize("role", ROLES)
def test_a_result_comes_back(run: Callable[..., Any], probe: Probe, role: str) -> None:
    assert run(probe("echo", role), "hello").text == "hello"


def test_builds_are_fresh_children_of_one_process(run: Callable[..., Any], probe: Probe) -> None:
    first, second = run(probe("echo", "build")), run(probe("echo", "build"))
    assert first.pid != second.pid
    assert first.parent == second.parent != os.getpid()


def test_a_measurement_runs_without_the_waiting_parent_of_builds(
    run: Callable[..., Any], probe: Probe, is_alive: Callable[[int], bool]
) -> None:
    built = run(probe("echo", "build"))
    assert is_alive(built.parent)
    assert run(probe("echo", "measure")).parent == os.getpid()
    assert not is_alive(built.parent)
    assert run(probe("echo", "build")).parent != built.parent


@pytest.mark.parametrize("role", ROLES)
def test_children_have_no_token(
    run: Callable[..., Any], probe: Probe, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    monkeypatch.setenv("LAYERPRUNE_TOKEN", "secret")
    assert "LAYERPRUNE" not in run(probe("environment", role)).text


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("diverged", "diverged"),
        ("bad", "bad_input"),
        ("unknown", "build_failed"),
        ("memory", "oom"),
        ("torch_memory", "oom"),
        ("disk", "disk_full"),
        ("bug", "build_failed"),
        ("segfault", "crashed"),
        ("sigkill", "oom"),
        ("exit", "crashed"),
    ],
)
def test_every_end_has_a_closed_reason(run: Callable[..., Any], probe: Probe, how: str, reason: str, role: str) -> None:
    failure = run(probe("fail", role), how)
    assert isinstance(failure, TaskFailure)
    assert failure.reason == reason


def test_a_failure_says_where(run: Callable[..., Any], probe: Probe) -> None:
    assert "raise {" in run(probe("fail"), "bug").message


def test_a_crash_keeps_the_last_words(run: Callable[..., Any], probe: Probe) -> None:
    assert "status 3" in (message := run(probe("fail"), "exit").message)
    assert "last words" in message


@pytest.mark.parametrize("role", ROLES)
def test_the_deadline_kills_the_child_and_all_that_it_started(
    run: Callable[..., Any],
    probe: Probe,
    tmp_path: Path,
    is_alive: Callable[[int], bool],
    wait_until: Callable[..., None],
    role: str,
) -> None:
    run(probe("echo", role))
    failure = run(probe("hang", role), str(tmp_path / "pids"), deadline_s=4)
    assert (failure.reason, "hanging" in failure.message) == ("timeout", True)
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        wait_until(lambda pid=pid: not is_alive(pid))


@pytest.mark.parametrize("role", ROLES)
def test_a_stop_kills_the_child_at_once(
    run: Callable[..., Any], probe: Probe, tmp_path: Path, stop: Stop, wait_until: Callable[..., None], role: str
) -> None:
    pids = tmp_path / "pids"
    stopper = Thread(target=lambda: (wait_until(pids.exists), stop.request()))
    stopper.start()
    failure = run(probe("hang", role), str(pids))
    stopper.join()
    assert failure.reason == "given_back"


def test_a_stop_while_the_parent_of_builds_imports_ends_it(tmp_path: Path, lock_folder: Path, probe: Probe) -> None:
    stop = Stop()
    stop.request()
    zygote = Zygote(tmp_path, lock_folder, modules=("probes",))
    failure = Executor(zygote, lock_folder, stop).execute(probe("echo", "build"), {}, tmp_path, deadline_s=60)
    assert isinstance(failure, TaskFailure)
    assert failure.reason == "given_back"
    stop.close()


def test_a_parent_of_builds_that_cannot_import_says_so(
    tmp_path: Path, lock_folder: Path, probe: Probe, stop: Stop
) -> None:
    zygote = Zygote(tmp_path, lock_folder, modules=("not_there",))
    with pytest.raises(Exception, match="No module named 'not_there'"):
        Executor(zygote, lock_folder, stop).execute(probe("echo", "build"), {}, tmp_path, deadline_s=60)


def test_waiting_for_the_machine_does_not_count_against_the_deadline(
    run: Callable[..., Any], probe: Probe, tmp_path: Path, lock_folder: Path, wait_until: Callable[..., None]
) -> None:
    run(probe("echo", "build"))
    (tmp_path / "enough").touch()
    results: list[Any] = []
    with HostLock(lock_folder).measuring():
        deadline_s = 1.0
        thread = Thread(target=lambda: results.append(run(probe("steps"), str(tmp_path / "enough"), deadline_s=3)))
        thread.start()
        end = time.monotonic() + 3 + deadline_s
        wait_until(lambda: time.monotonic() > end)
        assert results == []
    thread.join(20)
    assert not isinstance(results[0], TaskFailure)


AGENT = """
import sys
from pathlib import Path
from workers.children import Zygote
from workers.execution import Executor
from workers.kinds import Kind
from workers.stopping import Stop

folder, role, pids = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
executor = Executor(Zygote(folder, folder / "locks", modules=("probes",)), folder / "locks", Stop())
executor.execute(Kind("probes:hang", "probes:Order", "probes:Done", role), {"text": pids}, folder, deadline_s=600)
"""


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_left_when_the_agent_is_killed(
    tmp_path: Path, is_alive: Callable[[int], bool], wait_until: Callable[..., None], role: str
) -> None:
    (folder := tmp_path / "agent").mkdir()
    pids = tmp_path / "pids"
    agent = subprocess.Popen([sys.executable, "-c", AGENT, str(folder), role, str(pids)])
    wait_until(lambda: pids.exists() and " " in pids.read_text())
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    for pid in map(int, pids.read_text().split()):
        wait_until(lambda pid=pid: not is_alive(pid))
