"""Power modes: which one a board is in, and whether a task may start in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from workers.harness.errors import HarnessError
from workers.harness.files import Files
from workers.harness.power import PowerMode, mode, modes, run_command, wait_reason, without_mode


def answering(text: str | None) -> Callable[[Sequence[str]], str | None]:
    def run(command: Sequence[str]) -> str | None:
        assert list(command) == ["nvpmodel", "-q"]
        return text

    return run


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("NV Power Mode: MAXN\n0\n", PowerMode(0, "MAXN")),
        ("NVPM WARN: fan mode is not set!\nNV Fan Mode:quiet\nNV Power Mode: MODE_30W\n2\n", PowerMode(2, "MODE_30W")),
        (None, PowerMode(1, "25W")),
        ("NVPM ERROR: permission denied\n", PowerMode(1, "25W")),
    ],
    ids=["JetPack 6", "JetPack 5", "not allowed", "an error"],
)
def test_the_mode_is_what_nvpmodel_says_else_what_its_files_say(
    board: Any, told: str | None, expected: PowerMode
) -> None:
    assert mode(Files(board("orin_nano")), answering(told)) == expected


def test_before_a_mode_was_chosen_the_configured_one_holds(board: Any) -> None:
    assert mode(Files(board("orin_nano", {"/var/lib/nvpmodel/status": None}))) == PowerMode(1, "25W")


def test_the_modes_are_those_of_the_configuration(board: Any) -> None:
    assert modes(Files(board("thor"))) == [PowerMode(0, "MAXN"), PowerMode(1, "120W")]


def test_a_machine_without_modes_is_not_asked_for_one(tree: Any) -> None:
    def never(_: Sequence[str]) -> str | None:
        raise AssertionError

    assert mode(Files(tree({})), never) is None


@pytest.mark.parametrize("wanted", ["MAXN_SUPER", "MAXN SUPER", "maxn-super", "2", 2])
def test_a_task_waits_for_the_mode_it_asks_for(board: Any, wanted: object) -> None:
    files = Files(board("orin_nano"))
    reason = wait_reason({"power_mode": wanted}, files)
    assert reason == "waits for power mode MAXN_SUPER; the device is in 25W: run 'sudo nvpmodel -m 2' on it"
    assert wait_reason({"power_mode": wanted}, files, answering("NV Power Mode: MAXN_SUPER\n2\n")) is None


@pytest.mark.parametrize("wanted", ["30W", "MODE_30W", "mode_30w", 2])
def test_the_prefix_of_older_names_does_not_matter(board: Any, wanted: object) -> None:
    assert (
        wait_reason({"power_mode": wanted}, Files(board("agx_orin", {"/var/lib/nvpmodel/status": "pmode:0002"})))
        is None
    )


def test_without_a_wish_nothing_is_asked(tree: Any) -> None:
    assert wait_reason({"cuda_graph": True}, Files(tree({}))) is None


def test_an_unknown_mode_is_refused_with_those_there_are(board: Any) -> None:
    with pytest.raises(HarnessError, match=r"'50W' was asked for, but this device has: 15W \(0\), 25W \(1\)") as caught:
        wait_reason({"power_mode": "50W"}, Files(board("orin_nano")))
    assert caught.value.code == "bad_input"


def test_a_machine_without_modes_refuses_every_one(tree: Any) -> None:
    with pytest.raises(HarnessError, match="'MAXN' was asked for, but this device has: none"):
        wait_reason({"power_mode": "MAXN"}, Files(tree({})))


def test_the_runtime_does_not_see_the_wish() -> None:
    assert without_mode({"power_mode": "MAXN", "cuda_graph": True}) == {"cuda_graph": True}


def test_commands_that_fail_or_are_missing_say_nothing() -> None:
    assert run_command(["echo", "NV Power Mode: MAXN"]) == "NV Power Mode: MAXN\n"
    assert run_command(["false"]) is None
    assert run_command(["/nonexistent/nvpmodel", "-q"]) is None
