"""A job's path leads nowhere but below a data root."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerprune.api.errors import BadInput
from layerprune.roots import ROOTS, data_roots, resolve


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two roots, a and b, beside a folder with a secret."""
    for name in ("a/images", "b/other", "secret"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv(ROOTS, f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    return tmp_path


def test_absolute_and_relative_paths_below_a_root_are_found(roots: Path) -> None:
    assert data_roots() == [roots / "a", roots / "b"]
    assert resolve(str(roots / "a" / "images")) == resolve("images") == roots / "a" / "images"
    assert resolve("other") == roots / "b" / "other"


def test_links_are_followed_and_must_stay_below_a_root(roots: Path) -> None:
    (roots / "a" / "inside").symlink_to(roots / "a" / "images")
    (roots / "a" / "outside").symlink_to(roots / "secret")
    assert resolve("inside") == roots / "a" / "images"
    with pytest.raises(BadInput, match="below none of the 2 data roots"):
        resolve(str(roots / "a" / "outside"))


@pytest.mark.parametrize("path", ["secret", "not-there"])
def test_nothing_is_said_about_what_lies_elsewhere(path: str, roots: Path) -> None:
    for outside in (str(roots / path), f"../{path}", f"{roots}/a/../{path}"):
        with pytest.raises(BadInput) as caught:
            resolve(outside)
        assert caught.value.message == f"{outside!r} lies below none of the 2 data roots of this worker"


def test_what_is_not_there_below_a_root_is_said_so(roots: Path) -> None:
    with pytest.raises(BadInput, match="there is no 'a/b' below the data roots"):
        resolve("a/b")


def test_a_worker_without_roots_opens_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(ROOTS, raising=False)
    with pytest.raises(BadInput, match="none of the 0 data roots"):
        resolve(str(tmp_path))
