"""Engines on disk: found again, never too many, never somebody else's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from workers.harness.backends.tensorrt.building import Engine
from workers.harness.backends.tensorrt.store import EngineStore
from workers.harness.errors import HarnessError


def engine(size: int = 100, mark: int = 1) -> Engine:
    return Engine(bytes([mark]) * size, 1.5, 7, b"timings", {"names": ["conv"]})


def age(folder: Path, name: str, *, seconds: int) -> None:
    """Make a file look as if it was last used at a given time."""
    os.utime(folder / name, (seconds, seconds))


def test_an_engine_is_found_again_with_its_facts(tmp_path: Path) -> None:
    EngineStore(tmp_path / "engines").write("key", 0, engine())
    found = EngineStore(tmp_path / "engines").read("key", 0)
    assert found is not None
    assert (found.plan, found.seconds, found.layers, found.facts) == (b"\1" * 100, 1.5, 7, {"names": ["conv"]})


def test_an_engine_that_is_not_whole_is_forgotten(tmp_path: Path) -> None:
    store = EngineStore(tmp_path / "engines")
    store.write("key", 0, engine())
    (tmp_path / "engines" / "key-0.plan").write_bytes(b"torn")
    assert store.read("key", 0) is None
    assert list((tmp_path / "engines").iterdir()) == []


def test_an_engine_without_its_record_is_none(tmp_path: Path) -> None:
    store = EngineStore(tmp_path / "engines")
    store.write("key", 0, engine())
    (tmp_path / "engines" / "key-0.json").write_text("{")
    assert store.read("key", 0) is None


def test_missing_builds_are_due_first_and_then_the_one_that_rested_longest(tmp_path: Path) -> None:
    folder, due = tmp_path / "engines", []
    store = EngineStore(folder)
    for _ in range(3):
        number = store.next_number("key", builds=3)
        store.write("key", number, engine())
        due.append(number)
    assert due == [0, 1, 2]
    for number, seconds in ((0, 30), (1, 10), (2, 20)):
        age(folder, f"key-{number}.plan", seconds=seconds)
    assert store.next_number("key", builds=3) == 1
    store.read("key", 1)
    assert store.next_number("key", builds=3) == 2


def test_the_engines_used_longest_ago_make_room(tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    store = EngineStore(folder, cap_bytes=250)
    for number in range(2):
        store.write(f"key{number}", 0, engine())
        age(folder, f"key{number}-0.plan", seconds=10 + number)
    store.read("key0", 0)
    store.write("key2", 0, engine())
    assert sorted(path.name for path in folder.glob("*.plan")) == ["key0-0.plan", "key2-0.plan"]
    assert not (folder / "key1-0.json").exists()


def test_timings_stay_when_an_engine_goes(tmp_path: Path) -> None:
    store = EngineStore(tmp_path / "engines", cap_bytes=160)
    store.write("old", 0, engine())
    age(tmp_path / "engines", "old-0.plan", seconds=10)
    store.write("new", 0, Engine(b"n" * 100, 1.0, 1, b""))
    assert store.read("old", 0) is None
    assert store.timings("old", 0) == b"timings"
    assert store.timings("new", 0) == b""


def test_timings_have_a_cap_too_and_leave_the_engines(tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    store = EngineStore(folder, cap_bytes=1600)
    store.write("old", 0, Engine(b"o", 1.0, 1, b"t" * 60))
    age(folder, "old-0.timings", seconds=10)
    store.write("new", 0, Engine(b"n", 1.0, 1, b"t" * 60))
    assert store.timings("old", 0) == b""
    assert store.read("old", 0) is not None


def test_the_newest_engine_stays_however_large(tmp_path: Path) -> None:
    store = EngineStore(tmp_path / "engines", cap_bytes=10)
    store.write("key", 0, engine(1000))
    assert store.read("key", 0) is not None


def test_the_folder_is_the_workers_alone(tmp_path: Path) -> None:
    EngineStore(tmp_path / "engines")
    assert stat.S_IMODE((tmp_path / "engines").stat().st_mode) == 0o700


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines").chmod(0o777)
    with pytest.raises(HarnessError, match="can be written by others, and engines are native code"):
        EngineStore(tmp_path / "engines")
