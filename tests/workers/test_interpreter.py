"""Another interpreter measures: a board's own, which alone has the runtime."""

from __future__ import annotations

import site
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from layerprune.api.errors import BadInput
from workers import interpreter
from workers.catalogue import describe_machine
from workers.config import WorkerSettings
from workers.tasks.harness import run_harness

Python = Callable[..., str]


@pytest.fixture
def python(tmp_path: Path) -> Python:
    """Give a maker of interpreters that see only the packages named, apart from the standard library."""

    def make(*packages: str, first: str = "") -> str:
        place = tmp_path / "packages"
        place.mkdir(exist_ok=True)
        installed = Path(np.__file__).parent.parent
        for package in packages:
            for found in [installed / package, installed / f"{package}.libs"]:
                if found.exists():
                    (place / found.name).symlink_to(found)
        path = tmp_path / "python"
        path.write_text(f'#!/bin/sh\n{first}\nexport PYTHONPATH={place}\nexec {sys.executable} -S "$@"\n')
        path.chmod(0o755)
        return str(path)

    return make


def test_the_runtimes_of_another_interpreter_are_offered(python: Python) -> None:
    machine = describe_machine(allow_null=False, python=python("numpy", "onnxruntime"))
    assert [backend.name for backend in machine.backends] == ["onnxruntime"]


def test_the_measuring_process_sees_nothing_of_this_environment(tmp_path: Path, python: Python) -> None:
    other = python("numpy", "onnxruntime", first="env > $(dirname $0)/environment")
    run_harness({"describe": True}, log=tmp_path / "log", python=other)
    told = (tmp_path / "environment").read_text()
    assert str(interpreter.PACKAGES) not in told.partition("PYTHONPATH=")[2].partition("\n")[0].split(":")
    assert not any(place in told for place in site.getsitepackages())


def test_a_worker_measures_with_the_interpreter_that_it_was_told(
    tmp_path: Path, python: Python, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = WorkerSettings(name="board", data=tmp_path, python=python("numpy", "onnxruntime", first="touch $0.used"))
    for name, value in settings.measure_environment.items():
        monkeypatch.setenv(name, value)
    run_harness({"describe": True}, log=tmp_path / "log")
    assert (tmp_path / "python.used").exists()


def test_without_numpy_it_is_refused_with_the_way_to_install_it(python: Python) -> None:
    with pytest.raises(BadInput, match="cannot import numpy: ModuleNotFoundError: No module named 'numpy'") as caught:
        describe_machine(allow_null=False, python=python())
    assert "-m pip install numpy" in caught.value.remedy


def test_without_a_runtime_it_is_refused(python: Python) -> None:
    with pytest.raises(BadInput, match="has no runtime that could be measured"):
        describe_machine(allow_null=False, python=python("numpy"))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 3.7; echo 1.21", "it is Python 3.7"),
        ("echo hello; exit 1", "it is no Python"),
        ("echo broken >&2; exit 1", "it is no Python: broken"),
    ],
)
def test_what_is_no_python_or_too_old_is_refused(tmp_path: Path, script: str, words: str) -> None:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    with pytest.raises(BadInput, match=words):
        interpreter.check(str(path))


def test_an_interpreter_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadInput, match="there is no such program"):
        interpreter.check("/usr/bin/no-such-python")
