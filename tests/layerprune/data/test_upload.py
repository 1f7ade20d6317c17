"""Uploaded sets are unpacked into the task's folder, and nothing else happens."""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.api.network import ModelSpec
from layerprune.data.material import Material, load_material
from layerprune.data.upload import unpack
from layerprune.inspection.archive_file import ArchiveLimits


def _material(content: bytes, task: Path) -> Material:
    digest = hashlib.sha256(content).hexdigest()
    (task / "inputs").mkdir(parents=True)
    (task / "inputs" / digest).write_bytes(content)
    return load_material(ModelSpec(name="cifar:resnet20"), DatasetSpec(upload=digest), folder=task)


def _zip(folder: Path) -> bytes:
    return Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name)).read_bytes()


def test_a_zip_of_a_folder_is_a_data_set(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    material = _material(_zip(make_folder({"dog": 20, "cat": 20})), tmp_path / "task")
    assert material.dataset.classes == ("cat", "dog")
    assert len(material.train) == 21
    assert (tmp_path / "task" / "dataset" / "images" / "dog" / "000.png").is_file()


def test_a_zip_of_parquet_files_is_a_data_set(make_parquet: Callable[..., Path], tmp_path: Path) -> None:
    make_parquet([0, 1] * 20, "set/train.parquet")
    make_parquet([0, 1] * 5, "set/test.parquet")
    assert len(_material(_zip(tmp_path / "set"), tmp_path / "task").test) == 10


def test_a_parquet_file_is_a_data_set(make_parquet: Callable[..., Path], tmp_path: Path) -> None:
    content = make_parquet([0, 1] * 20).read_bytes()
    assert len(_material(content, tmp_path / "task").train) == 21


def test_only_images_are_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a/1.png", "a/setup.py", ".git/x.png", "__MACOSX/a/1.png"):
            archive.writestr(name, b"x")
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert [p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")] == ["a/1.png"]


def test_a_file_larger_than_it_says_is_not_unpacked(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", bytes(5_000_000))
    # The sizes in the directory and before the file become a lie.
    lie = content.getvalue().replace((5_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    (tmp_path / "a.zip").write_bytes(lie)
    with pytest.raises(BadInput, match=r"broken at 'a/1.png'"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert (tmp_path / "out" / "a" / "1.png").stat().st_size <= 1000


def test_damaged_content_is_named(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a/1.png", b"the content")
    (tmp_path / "a.zip").write_bytes(content.getvalue().replace(b"the content", b"tHe content"))
    with pytest.raises(BadInput, match=r"broken at 'a/1.png'"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_folder_and_a_file_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"x")
        archive.writestr("a.png/1.png", b"x")
    with pytest.raises(BadInput, match=r"broken at 'a.png/1.png'"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_what_the_check_refuses_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/1.png", b"x")
        archive.writestr("../1.png", b"x")
    with pytest.raises(BadInput, match="leads out of the folder"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    with pytest.raises(BadInput, match="2 entries, 1 are accepted"):
        unpack(tmp_path / "a.zip", tmp_path / "out", ArchiveLimits(max_entries=1))
    assert not (tmp_path / "out").exists()
