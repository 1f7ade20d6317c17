"""What the runner leaves on the disk; what it does with tasks is in test_worker.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from workers.runner import KEPT_FAILURES, Runner


def test_only_the_latest_failed_tasks_stay_on_the_disk(tmp_path: Path) -> None:
    unused: Any = None
    tasks = tmp_path / "tasks"
    runner = Runner(tasks, client=unused, cache=unused, executor=unused, stop=unused)
    for age in range(KEPT_FAILURES + 3):
        folder = tasks / f"attempt-{age}"
        (folder / "inputs").mkdir(parents=True)
        (folder / "inputs" / "network").write_bytes(b"onnx")
        os.utime(folder, (age, age))
    runner.tidy()
    assert {path.name for path in tasks.iterdir()} == {f"attempt-{age}" for age in range(3, KEPT_FAILURES + 3)}
