"""A task waits for its power mode, says so, and starts when it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerprune.api.errors import BadInput
from layerprune.api.jobs import Progress
from workers.harness.files import Files
from workers.tasks.power import await_power_mode


@pytest.fixture
def board(tmp_path: Path) -> Files:
    for name, text in {
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=1 NAME=25W >\n< PM_CONFIG DEFAULT=0 >\n",
        "var/lib/nvpmodel/status": "pmode:0000\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return Files(str(tmp_path))


def test_a_task_waits_with_a_reason_until_the_mode_is_there(board: Files, tmp_path: Path) -> None:
    told: list[Progress] = []
    pauses: list[float] = []
    checkpoints: list[int] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            (tmp_path / "var/lib/nvpmodel/status").write_text("pmode:0001\n")

    await_power_mode(
        {"power_mode": "25W"},
        report=told.append,
        checkpoint=lambda: checkpoints.append(1),
        files=board,
        pause=pause,
    )
    assert [(one.phase, one.message) for one in told] == [
        ("waiting", "waits for power mode 25W; the device is in 15W: run 'sudo nvpmodel -m 1' on it")
    ]
    assert len(pauses) == len(checkpoints) == 3


def test_a_task_in_the_right_mode_starts_at_once(board: Files) -> None:
    def never(_: object) -> None:
        raise AssertionError

    await_power_mode({"power_mode": "15W"}, report=never, checkpoint=lambda: None, files=board, pause=never)
    await_power_mode({}, report=never, checkpoint=lambda: None, files=board, pause=never)


def test_a_mode_that_the_device_lacks_fails_the_task(board: Files) -> None:
    with pytest.raises(BadInput, match="'MAXN' was asked for, but this device has: 15W") as caught:
        await_power_mode({"power_mode": "MAXN"}, report=lambda _: None, checkpoint=lambda: None, files=board)
    assert caught.value.field == "power_mode"
