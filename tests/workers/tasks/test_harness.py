"""The parent's side of the measuring process: whatever becomes of it is told by a closed reason."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from layerprune.api.errors import BadInput, LayerPruneError
from workers.tasks import harness
from workers.tasks.harness import Event, run_harness


@pytest.fixture
def python(tmp_path: Path) -> Callable[[str], str]:
    """Give a maker of stand-ins for the interpreter: shell scripts that behave in one way."""

    def make(script: str) -> str:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("cat >/dev/null; kill -SEGV $$", "crashed", "SIGSEGV"),
        ("cat >/dev/null; kill -KILL $$", "oom", "memory"),
        ("cat >/dev/null; echo last words >&2; exit 3", "crashed", "exit code 3: last words"),
        ("exec 0<&-; exit 4", "crashed", "exit code 4"),
        ("""cat >/dev/null; echo '{"event": "progress", "phase": "timing"}'; exit 0""", "crashed", "exit code 0"),
    ],
    ids=["crash", "killed", "exit", "reads nothing", "no result"],
)
def test_a_process_that_dies_has_a_reason(
    tmp_path: Path, python: Callable[[str], str], script: str, code: str, words: str
) -> None:
    with pytest.raises(LayerPruneError, match=words) as caught:
        run_harness({"filler": "x" * 200_000}, log=tmp_path / "log", python=python(script))
    assert caught.value.code == code


def test_a_process_that_says_nothing_is_stopped(
    tmp_path: Path, python: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "START_S", 0.2)
    before = psutil.Process().children()
    with pytest.raises(LayerPruneError, match="did not get on in time") as caught:
        run_harness({}, log=tmp_path / "log", python=python("exec sleep 600"))
    assert caught.value.code == "timeout"
    # Other tests' processes, a browser for one, may still be there.
    assert set(psutil.Process().children()) <= set(before)


def test_a_process_that_needs_longer_says_so_and_gets_it(
    tmp_path: Path, python: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness, "START_S", 0.5)
    script = """
        cat >/dev/null
        echo '{"event": "progress", "phase": "timing", "expect_s": 10}'
        sleep 1
        echo '{"event": "result", "answer": 42}'
    """
    assert run_harness({}, log=tmp_path / "log", python=python(script))["answer"] == 42


def test_it_gets_no_token(tmp_path: Path, python: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERPRUNE_TOKEN", "secret-of-the-worker")
    with pytest.raises(LayerPruneError, match="exit code 1"):
        run_harness({}, log=tmp_path / "log", python=python("cat >/dev/null; env >&2; exit 1"))
    printed = (tmp_path / "log").read_text()
    assert "PATH=" in printed
    assert "secret" not in printed


def test_an_error_line_becomes_an_exception_with_value_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="spec is broken") as caught:
        run_harness({"backend": "null"}, log=tmp_path / "log")
    assert caught.value.code == "bad_input"


def test_an_exception_while_it_runs_stops_it(tmp_path: Path, python: Callable[[str], str]) -> None:
    class Cancelled(Exception):
        pass

    def cancel(event: Event) -> None:
        raise Cancelled

    script = """cat >/dev/null; echo '{"event": "progress", "phase": "timing"}'; exec sleep 600"""
    before = psutil.Process().children()
    with pytest.raises(Cancelled):
        run_harness({}, log=tmp_path / "log", on_progress=cancel, python=python(script))
    # Other tests' processes, a browser for one, may still be there.
    assert set(psutil.Process().children()) <= set(before)


def test_it_dies_with_its_parent(
    tmp_path: Path, conv_net: Callable[..., bytes], wait_until: Callable[..., None], is_alive: Callable[[int], bool]
) -> None:
    (tmp_path / "network").write_bytes(conv_net(depth=8, channels=32))
    program = f"""
import sys
from pathlib import Path
from workers.tasks.harness import run_harness
plan = dict(cycles=10_000, block_ms=50.0, warmup_min_s=0.1, warmup_later_min_s=0.1,
            warmup_min_runs=5, warmup_cap_s=1.0)
run_harness(
    dict(backend="onnxruntime", precision="fp32", threads=1, shape=[1, 3, 8, 8], plan=plan, seed=0, evaluate=None,
         networks=dict(a={str(tmp_path / "network")!r}), folder={str(tmp_path)!r}),
    log=Path({str(tmp_path / "log")!r}),
    on_progress=lambda event: print(event["phase"], flush=True),
)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert any(line.strip() == "timing" for line in parent.stdout)
    (child,) = psutil.Process(parent.pid).children()
    os.kill(parent.pid, 9)
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not is_alive(child.pid))
