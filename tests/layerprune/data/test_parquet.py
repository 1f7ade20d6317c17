"""Parquet files as Hugging Face writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.api.network import ModelSpec
from layerprune.data import load_dataset
from layerprune.data.material import load_material
from layerprune.data.source import Dataset
from layerprune.roots import ROOTS

MakeParquet = Callable[..., Path]


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOTS, str(tmp_path))


def _load(place: Path, **changes: Any) -> Dataset:
    return load_dataset(DatasetSpec(path=str(place), **changes))


def test_names_come_from_the_files_metadata(make_parquet: MakeParquet) -> None:
    data = _load(make_parquet([1, 0] * 20, names=["cat", "dog"]))
    assert data.classes == ("cat", "dog")
    assert data.train.source.labels.tolist() == [1, 0] * 20


def test_texts_are_sorted_to_classes(make_parquet: MakeParquet) -> None:
    data = _load(make_parquet(["dog", "cat"] * 20))
    assert data.classes == ("cat", "dog")
    assert data.train.source.labels.tolist() == [1, 0] * 20


def test_numbers_without_names_are_named_by_themselves(make_parquet: MakeParquet) -> None:
    data = _load(make_parquet([2, 1] * 20))
    assert data.classes == ("1", "2")
    assert data.train.source.labels.tolist() == [1, 0] * 20


@pytest.mark.parametrize("plain", [True, False])
def test_images_are_found_row_by_row(
    plain: bool, make_parquet: MakeParquet, picture: Callable[..., Any], encoded: Callable[..., bytes]
) -> None:
    pictures = [picture(number, size=(16 + number, 9)) for number in range(40)]
    path = make_parquet([0, 1] * 20, images=[encoded(one) for one in pictures], plain=plain)
    source = _load(path).train.source
    for position in (39, 0, 7, 6):
        assert np.array_equal(np.asarray(source.image(position)), np.asarray(pictures[position]))


def test_columns_may_have_other_names(make_parquet: MakeParquet) -> None:
    path = make_parquet([0, 1] * 20, columns=("img", "fine_label"))
    assert _load(path, image_column="img", label_column="fine_label").classes == ("0", "1")
    with pytest.raises(BadInput, match="has no column 'image'; it has img, fine_label") as caught:
        _load(path)
    assert caught.value.field == "dataset.image_column"


def test_files_are_split_by_their_names(make_parquet: MakeParquet) -> None:
    for name, count in (("data/train-00000-of-00002", 20), ("data/train-00001-of-00002", 12), ("data/test", 5)):
        make_parquet([0, 1] * count, f"set/{name}.parquet")
    place = make_parquet([0, 1] * 3, "set/data/validation-0.parquet").parent.parent
    data = _load(place)
    assert [len(s) for s in (data.train, data.calibration, data.validation, data.test)] == [56, 8, 6, 10]


def test_files_are_split_by_their_folders(make_parquet: MakeParquet) -> None:
    make_parquet([0, 1] * 20, "set/train/0000.parquet")
    place = make_parquet([0, 1] * 5, "set/test/0000.parquet").parent.parent
    assert len(_load(place).test) == 10


def test_a_file_of_no_part_beside_parts_is_named(make_parquet: MakeParquet) -> None:
    for name in ("train", "test", "extra"):
        place = make_parquet([0, 1] * 20, f"set/{name}.parquet").parent
    with pytest.raises(BadInput, match="'extra.parquet' says by its name neither train nor val nor test"):
        _load(place)


def test_the_fingerprint_changes_with_an_images_bytes(make_parquet: MakeParquet, encoded: Any, picture: Any) -> None:
    images = [encoded(picture(number)) for number in range(40)]
    first = _load(make_parquet([0, 1] * 20, "one.parquet", images=images)).fingerprint
    again = _load(make_parquet([0, 1] * 20, "two.parquet", images=images)).fingerprint
    images[17] = encoded(picture(99))
    assert first == again != _load(make_parquet([0, 1] * 20, "three.parquet", images=images)).fingerprint


@pytest.mark.parametrize("label", [2, -1])
def test_a_label_out_of_range_is_named_with_its_row(label: int, make_parquet: MakeParquet) -> None:
    path = make_parquet([0, 1] * 10 + [label], names=["cat", "dog"])
    with pytest.raises(BadInput, match=rf"the label {label} in row 20 of images.parquet is out of range: there are 2"):
        _load(path)


def test_a_broken_image_is_named_by_its_row(make_parquet: MakeParquet, encoded: Any, picture: Any) -> None:
    images = [encoded(picture(number)) for number in range(40)]
    images[13] = b"not an image"
    with pytest.raises(BadInput, match=r"the image in row 13 of images.parquet cannot be read"):
        load_material(ModelSpec(name="cifar:resnet20"), DatasetSpec(path=str(make_parquet([0, 1] * 20, images=images))))


def test_a_missing_image_is_named_by_its_row(make_parquet: MakeParquet, encoded: Any, picture: Any) -> None:
    images = [encoded(picture(number)) for number in range(40)]
    with pytest.raises(BadInput, match=r"row 13 of images.parquet has no image"):
        _load(make_parquet([0, 1] * 20, images=[*images[:13], None, *images[14:]], plain=True))


def test_one_class_only_is_no_data_set(make_parquet: MakeParquet) -> None:
    with pytest.raises(BadInput, match="1 class: cat"):
        _load(make_parquet(["cat"] * 20))


def test_columns_of_other_types_are_refused(make_parquet: MakeParquet) -> None:
    path = make_parquet([0.5, 1.5] * 20)
    with pytest.raises(BadInput, match="the column 'label' of images.parquet holds double, not labels"):
        _load(path)
    with pytest.raises(BadInput, match="the column 'label' of images.parquet holds double, not images"):
        _load(path, image_column="label")


def test_a_file_cut_off_is_refused(make_parquet: MakeParquet) -> None:
    path = make_parquet([0, 1] * 20)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(BadInput, match="images.parquet cannot be read as parquet"):
        _load(path)
