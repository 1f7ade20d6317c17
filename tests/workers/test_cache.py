from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from layerprune.api.errors import BadInput
from workers.cache import Cache

CONTENTS = {hashlib.sha256(text).hexdigest(): text for text in (b"one!", b"two!", b"six!")}
ONE, TWO, SIX = CONTENTS


class Source:
    """Where the artifacts come from; counts what is fetched."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    def download(self, digest: str, path: Path) -> None:
        self.fetched.append(digest)
        path.write_bytes(CONTENTS[digest])


@pytest.fixture
def source() -> Source:
    return Source()


def make(tmp_path: Path, source: Source, limit_bytes: int = 1000) -> Cache:
    return Cache(tmp_path / "cache", limit_bytes=limit_bytes, download=source.download)


def test_what_was_fetched_is_not_fetched_again(tmp_path: Path, source: Source) -> None:
    cache = make(tmp_path, source)
    cache.fetch(ONE, tmp_path / "a" / ONE)
    cache.fetch(ONE, tmp_path / "b" / ONE)
    assert (tmp_path / "b" / ONE).read_bytes() == b"one!"
    assert source.fetched == [ONE]


def test_it_outlives_the_worker(tmp_path: Path, source: Source) -> None:
    make(tmp_path, source).fetch(ONE, tmp_path / "a")
    make(tmp_path, source).fetch(ONE, tmp_path / "b")
    assert source.fetched == [ONE]


def test_a_file_that_was_made_here_is_not_fetched(tmp_path: Path, source: Source) -> None:
    cache = make(tmp_path, source)
    (tmp_path / "made").write_bytes(b"one!")
    cache.add(ONE, tmp_path / "made")
    cache.fetch(ONE, tmp_path / "a")
    assert source.fetched == []


def test_a_damaged_file_is_fetched_again(tmp_path: Path, source: Source) -> None:
    cache = make(tmp_path, source)
    cache.fetch(ONE, tmp_path / "a")
    (tmp_path / "cache" / ONE).write_bytes(b"on")
    cache.fetch(ONE, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"one!"


def test_over_the_limit_the_longest_unused_goes_first(tmp_path: Path, source: Source) -> None:
    cache = make(tmp_path, source, limit_bytes=8)
    cache.fetch(ONE, tmp_path / "a")
    cache.fetch(TWO, tmp_path / "b")
    os.utime(tmp_path / "cache" / ONE, (1000, 1000))
    cache.fetch(SIX, tmp_path / "c")
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {TWO, SIX}


def test_an_artifact_over_the_limit_is_still_delivered(tmp_path: Path, source: Source) -> None:
    make(tmp_path, source, limit_bytes=1).fetch(ONE, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"one!"


@pytest.mark.parametrize("digest", ["../token", "", "A" * 64])
def test_only_digests_name_artifacts(tmp_path: Path, source: Source, digest: str) -> None:
    with pytest.raises(BadInput):
        make(tmp_path, source).fetch(digest, tmp_path / "a")


def test_it_takes_no_more_than_a_tenth_of_the_disk(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.cache.shutil.disk_usage", lambda _: SimpleNamespace(total=90))
    cache = make(tmp_path, source)
    for age, digest in enumerate((ONE, TWO, SIX)):
        cache.fetch(digest, tmp_path / digest)
        os.utime(tmp_path / "cache" / digest, (age, age))
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {TWO, SIX}
