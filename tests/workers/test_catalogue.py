from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from layerprune.api.catalogue import Catalogue
from workers.catalogue import LIBRARY, LIBRARY_S, describe_machine
from workers.children import Zygote
from workers.config import WorkerSettings
from workers.execution import Executor
from workers.stopping import Stop


def test_the_machine_offers_its_runtimes_and_says_what_it_is() -> None:
    machine = describe_machine(allow_null=False)
    offered = {backend.name: backend for backend in machine.backends}
    assert {"onnxruntime", "openvino", "torch"} <= offered.keys()
    assert "null" not in offered
    assert offered["onnxruntime"].max_threads >= 1
    assert "processors that this process may use" in offered["onnxruntime"].threads_limited_by or (
        "quota" in offered["onnxruntime"].threads_limited_by
    )
    assert machine.facts["memory_bytes"] > 0


def test_the_null_runtime_is_offered_only_when_it_is_allowed() -> None:
    assert "null" in {backend.name for backend in describe_machine(allow_null=True).backends}


def test_the_agent_imports_no_runtime() -> None:
    program = (
        "import sys, workers.worker, workers.zygote;"
        "print({'torch', 'onnxruntime', 'fastapi', 'sqlalchemy'} & sys.modules.keys())"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"


def test_build_children_know_the_data_roots_and_offer_what_lies_there(
    tmp_path: Path, lock_folder: Path, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    for folder in ("train/n01440764", "train/n01443537", "val/n01440764", "val/n01443537"):
        (root / "imagenet" / folder).mkdir(parents=True)
    (tmp_path / "task").mkdir()
    settings = WorkerSettings(name="probe", data=tmp_path, data_roots=(root, tmp_path / "more"))
    monkeypatch.setenv("LAYERPRUNE_DATA_ROOTS", "/not/this")
    zygote = Zygote(tmp_path, lock_folder, modules=("workers.catalogue",), environment=settings.build_environment)
    found = Executor(zygote, lock_folder, stop).execute(LIBRARY, {}, tmp_path / "task", deadline_s=LIBRARY_S)
    zygote.stop()
    assert isinstance(found, Catalogue)
    assert found.data_roots == [str(root), str(tmp_path / "more")]
    assert [dataset.name for dataset in found.datasets] == ["digits", "imagenet"]
