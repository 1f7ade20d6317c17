"""CIFAR and ImageNet where a worker has them, or may fetch them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import pickle
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput, LayerPruneError
from layerprune.data import list_datasets, load_dataset
from layerprune.roots import DOWNLOADS, ROOTS

CIFAR10 = DatasetSpec(name="cifar10")


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOTS, str(tmp_path / "root"))
    monkeypatch.delenv(DOWNLOADS, raising=False)


def _names() -> list[str]:
    return [info.name for info in list_datasets()]


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny CIFAR-10 of 40 + 10 images in the form in which it is published; torchvision is told its checksums."""
    files = {}
    for name, count in (("data_batch_1", 40), ("test_batch", 10)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 3072), dtype=np.uint8)
        files[name] = pickle.dumps({"data": pixels, "labels": [i % 2 for i in range(count)]})
    files["batches.meta"] = pickle.dumps({"label_names": ["airplane", "automobile"]})
    path = tmp_path / "published" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    cifar = torchvision.datasets.CIFAR10
    monkeypatch.setattr(cifar, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(cifar, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(cifar, "meta", {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]})
    monkeypatch.setattr(cifar, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    return path


@pytest.fixture
def website(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serves the archive where torchvision looks for it; the list holds what was asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            asked.append(self.path)

        def copyfile(self, source: Any, outputfile: Any) -> None:
            # torchvision asks twice, at first only whether it is sent elsewhere, and hangs up.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                super().copyfile(source, outputfile)

    handler = functools.partial(Handler, directory=str(archive.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/{archive.name}"
        monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", url)
        yield asked
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("place", [".", "cifar10"])
def test_cifar_is_read_as_torchvision_stores_it(place: str, archive: Path, tmp_path: Path) -> None:
    assert _names() == ["digits"]
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "root" / place, filter="data")
    assert _names() == ["digits", "cifar10"]
    data = load_dataset(CIFAR10)
    assert data.classes == ("airplane", "automobile")
    assert [len(s) for s in (data.train, data.calibration, data.validation, data.test)] == [30, 5, 5, 10]
    assert data.preprocess.size == 32
    pixels = np.random.default_rng(10).integers(0, 256, (10, 3072), dtype=np.uint8)
    assert np.array_equal(np.asarray(data.test.source.image(3)), pixels[3].reshape(3, 32, 32).transpose(1, 2, 0))


def test_a_corrupted_cifar_is_said_to_be(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "root", filter="data")
    (tmp_path / "root" / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"something else")
    with pytest.raises(BadInput, match="CIFAR10 is incomplete or corrupted"):
        load_dataset(CIFAR10)


def test_cifar_is_read_from_parquet_files_in_a_folder_of_its_name(make_parquet: Callable[..., Path]) -> None:
    make_parquet([0, 1] * 20, "root/cifar10/train.parquet", names=["airplane", "automobile"])
    make_parquet([0, 1] * 5, "root/cifar10/test.parquet", names=["airplane", "automobile"])
    assert _names() == ["digits", "cifar10"]
    data = load_dataset(CIFAR10.model_copy(update={"max_train_images": 32}))
    assert (data.name, len(data.train), len(data.test)) == ("cifar10", 24, 10)
    assert data.preprocess.mean == [0.4914, 0.4822, 0.4465]


def test_nothing_is_downloaded_unless_the_worker_may(website: list[str]) -> None:
    with pytest.raises(BadInput, match="this worker does not have cifar10"):
        load_dataset(CIFAR10)
    assert website == []


def test_a_worker_that_may_downloads_once(website: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DOWNLOADS, str(tmp_path / "fetched"))
    assert _names() == ["digits", "cifar10", "cifar100"]
    assert website == []
    assert len(load_dataset(CIFAR10).test) == 10
    asked = len(website)
    assert asked > 0
    assert len(load_dataset(CIFAR10).test) == 10
    assert len(website) == asked


def test_a_download_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DOWNLOADS, str(tmp_path / "fetched"))
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    with pytest.raises(LayerPruneError, match="CIFAR10 cannot be downloaded"):
        load_dataset(CIFAR10)


def test_imagenet_is_read_from_its_folders(tmp_path: Path) -> None:
    assert "imagenet" not in _names()
    ids = ("n01440764", "n01443537")
    for part, count in (("train", 16), ("val", 3)):
        for number, name in enumerate(ids):
            (tmp_path / "root" / "imagenet" / part / name).mkdir(parents=True)
            for i in range(count):
                path = tmp_path / "root" / "imagenet" / part / name / f"{name}_{i}.JPEG"
                Image.new("RGB", (40, 30), (number * 200, i, 0)).save(path)
    assert "imagenet" in _names()
    data = load_dataset(DatasetSpec(name="imagenet"))
    assert data.classes == ids
    assert [len(s) for s in (data.train, data.calibration, data.validation, data.test)] == [24, 4, 4, 6]
    assert (data.preprocess.resize, data.preprocess.size) == (256, 224)


def test_a_worker_without_imagenet_says_what_it_wants() -> None:
    with pytest.raises(BadInput, match="this worker does not have imagenet") as caught:
        load_dataset(DatasetSpec(name="imagenet"))
    assert "nXXXXXXXX" in caught.value.remedy
