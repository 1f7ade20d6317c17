"""The gate before a measurement: no process of a task starts on a hot device, and none waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from workers.harness.cooling import MAX_WAIT_S, Cooling, cool_down


class Room:
    """A device that cools down by a degree a second, on a clock of its own."""

    def __init__(self, celsius: float) -> None:
        self.celsius, self.now_s, self.told = celsius, 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.celsius -= seconds

    def enter(
        self, folder: Path, limits: dict[str, float], read: Callable[[], dict[str, float]] | None = None
    ) -> Cooling:
        return cool_down(
            read or (lambda: {"cpu": self.celsius}),
            limits,
            folder,
            say=self.told.append,
            clock=lambda: self.now_s,
            sleep=self.sleep,
        )


def test_the_first_process_starts_at_once(tmp_path: Path) -> None:
    assert Room(50.0).enter(tmp_path, {}) == Cooling(0.0, {})


def test_a_later_process_waits_until_it_is_nearly_as_cool_as_at_first(tmp_path: Path) -> None:
    Room(50.0).enter(tmp_path, {})
    room = Room(60.0)
    assert room.enter(tmp_path, {}) == Cooling(7.0, {})
    assert room.told == [MAX_WAIT_S]


def test_well_below_where_it_throttles_is_cool_enough(tmp_path: Path) -> None:
    Room(40.0).enter(tmp_path, {"cpu": 95.0})
    assert Room(74.0).enter(tmp_path, {"cpu": 95.0}) == Cooling(0.0, {})
    assert Room(80.0).enter(tmp_path, {"cpu": 95.0}) == Cooling(5.0, {})


def test_a_device_that_is_hot_from_the_start_is_waited_for_too(tmp_path: Path) -> None:
    assert Room(90.0).enter(tmp_path, {"cpu": 95.0}) == Cooling(15.0, {})


def test_all_processes_of_a_task_wait_no_longer_than_five_minutes(tmp_path: Path) -> None:
    Room(50.0).enter(tmp_path, {})
    stuck = Room(60.0)
    stays_hot = stuck.enter(tmp_path, {}, read=lambda: {"cpu": 60.0})
    assert stays_hot == Cooling(MAX_WAIT_S, {"cpu": [60.0, 53.0]})
    again = Room(60.0)
    assert again.enter(tmp_path, {}) == Cooling(0.0, {"cpu": [60.0, 53.0]})
    assert again.told == []


def test_a_machine_without_sensors_never_waits(tmp_path: Path) -> None:
    folder = tmp_path / "task"
    folder.mkdir()
    assert Room(50.0).enter(folder, {}, read=dict) == Cooling(0.0, {})
    assert list(folder.iterdir()) == []
