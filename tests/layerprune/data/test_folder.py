"""Folders of images: classes, order, splits and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.api.network import ModelSpec
from layerprune.data import load_dataset
from layerprune.data.material import load_material
from layerprune.data.source import Dataset
from layerprune.roots import ROOTS

MakeFolder = Callable[..., Path]


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOTS, str(tmp_path))


def _load(folder: Path, **changes: object) -> Dataset:
    return load_dataset(DatasetSpec(path=str(folder), **changes))


def test_classes_are_sorted_and_splits_hold_all_of_them(make_folder: MakeFolder) -> None:
    data = _load(make_folder({"dog": 20, "cat": 40}))
    assert data.classes == ("cat", "dog")
    splits = (data.train, data.calibration, data.validation, data.test)
    assert [len(split) for split in splits] == [31, 5, 6, 18]
    assert all(set(split.labels) == {0, 1} for split in splits)
    assert sorted(np.concatenate([split.positions for split in splits])) == list(range(60))


def test_the_stored_order_goes_round_the_classes(make_folder: MakeFolder) -> None:
    source = _load(make_folder({"a": 12, "b": 14})).train.source
    assert source.names[:4] == ["a/000.png", "b/000.png", "a/001.png", "b/001.png"]
    assert source.names[-2:] == ["b/012.png", "b/013.png"]


def test_train_val_and_test_folders_are_honoured(make_folder: MakeFolder) -> None:
    counts = {"train/a": 16, "train/b": 16, "val/a": 3, "val/b": 4, "test/a": 5, "test/b": 6}
    data = _load(make_folder(counts))
    assert [len(s) for s in (data.train, data.calibration, data.validation, data.test)] == [28, 4, 7, 11]
    assert data.test.source.image(0).size == (40, 24)


def test_without_a_test_folder_val_is_the_test_set(make_folder: MakeFolder) -> None:
    data = _load(make_folder({"train/a": 16, "train/b": 16, "val/a": 3, "val/b": 4}))
    assert [len(s) for s in (data.train, data.calibration, data.validation, data.test)] == [24, 4, 4, 7]


def test_only_the_first_images_train_if_so_many_are_wanted(make_folder: MakeFolder) -> None:
    data = _load(make_folder({"train/a": 30, "train/b": 30, "test/a": 3, "test/b": 4}), max_train_images=24)
    used = np.concatenate([data.train.positions, data.calibration.positions, data.validation.positions])
    assert sorted(used) == list(range(24))
    assert len(data.test) == 7


def test_a_folder_around_the_folders_is_stepped_through(make_folder: MakeFolder) -> None:
    assert _load(make_folder({"set/a": 12, "set/b": 12})).classes == ("a", "b")


def test_hidden_files_and_others_are_left_out(make_folder: MakeFolder) -> None:
    folder = make_folder({"a": 12, "b": 12})
    (folder / "a" / ".DS_Store").write_bytes(b"x")
    (folder / "a" / "readme.txt").write_text("not an image")
    (folder / "__MACOSX").mkdir()
    assert len(_load(folder).train.source.labels) == 24


def test_the_default_size_is_the_usual_shorter_edge(make_folder: MakeFolder) -> None:
    preprocess = _load(make_folder({"a": 12, "b": 12})).preprocess
    assert (preprocess.size, preprocess.resize, preprocess.channels) == (24, 24, 3)


def test_the_fingerprint_changes_with_a_name_or_a_size(make_folder: MakeFolder) -> None:
    folder = make_folder({"a": 12, "b": 12})
    first = _load(folder).fingerprint
    assert _load(folder).fingerprint == first
    (folder / "a" / "000.png").write_bytes((folder / "a" / "000.png").read_bytes() + b"x")
    second = _load(folder).fingerprint
    (folder / "a" / "000.png").rename(folder / "a" / "0000.png")
    assert len({first, second, _load(folder).fingerprint}) == 3


def test_the_fingerprint_does_not_depend_on_the_place(make_folder: MakeFolder) -> None:
    assert (
        _load(make_folder({"a": 12, "b": 12}, "one")).fingerprint
        == _load(make_folder({"a": 12, "b": 12}, "two")).fingerprint
    )


def test_a_broken_image_is_named_by_its_file(make_folder: MakeFolder) -> None:
    folder = make_folder({"a": 12, "b": 12})
    (folder / "b" / "003.png").write_bytes(b"not an image")
    with pytest.raises(BadInput, match=r"the image b/003.png cannot be read"):
        load_material(ModelSpec(name="cifar:resnet20"), DatasetSpec(path=str(folder)))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "there are no images"),
        ({"a": 12}, "1 class: a"),
        ({"a": 0, "b": 0}, "there are no images"),
        ({"a": 12, "b": 0}, "of 2 classes 1 have none of the 12 training images, 'b' first"),
        ({"a": 12, "b": 1}, "'b' has 1"),
        ({"a": 3, "b": 3}, "too few to set 1 aside"),
        ({"train/a": 9, "train/b": 9, "test/a": 3, "test/c": 3}, "'c', which is no class of the training images"),
    ],
)
def test_a_folder_that_is_no_data_set_says_why(
    counts: dict[str, int], message: str, make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder(counts)
    folder.mkdir(exist_ok=True)
    with pytest.raises(BadInput, match=message):
        _load(folder)


def test_a_file_that_is_neither_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(b"hello")
    with pytest.raises(BadInput, match="neither a folder nor a parquet file"):
        _load(tmp_path / "images.tar")
