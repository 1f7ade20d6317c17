"""Hostile and honest archives, looked at in a process of their own."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from layerprune.api.errors import BadInput
from layerprune.inspection.archive_file import ArchiveLimits, describe, inspect_archive


def _zip(path: Path, names: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return path


def _link(path: Path) -> None:
    entry = zipfile.ZipInfo("a/link.png")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, "/etc/passwd")


def _encrypted(path: Path) -> None:
    content = bytearray(_zip(path, {"a/1.png": b"x"}).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "absolute": (lambda p: _zip(p, {"/etc/1.png": b"x"}), "leads out"),
    "parent": (lambda p: _zip(p, {"a/../../1.png": b"x"}), "leads out"),
    "backslash": (lambda p: _zip(p, {"a\\..\\1.png": b"x"}), "backslash"),
    "drive": (lambda p: _zip(p, {"C:/1.png": b"x"}), "colon"),
    "control character": (lambda p: _zip(p, {"a/1\n.png": b"x"}), "control characters"),
    "link": (_link, "a link or a special file"),
    "encrypted": (_encrypted, "encrypted"),
    "other compression": (lambda p: _zip(p, {"a/1.png": b"x"}, zipfile.ZIP_LZMA), "only deflate"),
    "archive inside": (lambda p: _zip(p, {"a/1.png": b"x", "b.zip": b"x"}), "archive inside the archive"),
    "one large zero": (lambda p: _zip(p, {"a/1.bmp": bytes(30_000_000)}), "100 times are accepted"),
    "many small zeros": (lambda p: _zip(p, {f"a/{i}.bmp": bytes(900_000) for i in range(30)}), "times its size"),
    "long name": (lambda p: _zip(p, {f"a/{'x' * 600}.png": b"x"}), "longer than 512 bytes"),
    "deep": (lambda p: _zip(p, {"a/" * 20 + "1.png": b"x"}), "more than 8 folders deep"),
    "no images": (lambda p: _zip(p, {"a/run.sh": b"x"}), "holds no images"),
    "nothing": (lambda p: _zip(p, {}), "neither a zip nor a parquet file|holds no images"),
    "cut off": (lambda p: p.write_bytes(_zip(p, {"a/1.png": b"x"}).read_bytes()[:-9]), "no zip file"),
    "text": (lambda p: p.write_bytes(b"hello"), "neither a zip nor a parquet file"),
    "empty": (lambda p: p.write_bytes(b""), "neither a zip nor a parquet file"),
    "parquet cut off": (lambda p: p.write_bytes(b"PAR1 and no end"), "cut off"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    write, message = HOSTILE[name]
    write(tmp_path / "upload")
    with pytest.raises(BadInput, match=message) as caught:
        describe(tmp_path / "upload", ArchiveLimits())
    assert caught.value.field == "dataset.upload"


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "upload", {"a/1.png": b"x", "a/2.png": b"y"})
    path.write_bytes(path.read_bytes().replace(b"a/2.png", b"a/1.png"))
    with pytest.raises(BadInput, match=r"2 entries called 'a/1.png'"):
        describe(path, ArchiveLimits())


def test_what_is_too_much_in_all_is_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "upload", {f"a/{i}.png": bytes([i]) * 100 for i in range(5)})
    with pytest.raises(BadInput, match="5 entries, 4 are accepted"):
        describe(path, ArchiveLimits(max_entries=4))
    with pytest.raises(BadInput, match="unpacks to 500 bytes, 499 are accepted"):
        describe(path, ArchiveLimits(max_unpacked_bytes=499))


@pytest.mark.parametrize(
    ("names", "images"),
    [
        (["cat/1.png", "cat/2.JPG", "dog/1.png", "readme.txt"], {"cat": 2, "dog": 1}),
        (["set/cat/1.png", "set/dog/deep/1.png"], {"cat": 1, "dog": 1}),
        (["s/train/cat/1.png", "s/train/dog/1.png", "s/test/cat/2.png"], {"cat": 1, "dog": 1}),
        (["cat/1.png", "cat/2.png", "__MACOSX/cat/1.png"], {"cat": 2}),
    ],
)
def test_classes_and_images_are_counted(names: list[str], images: dict[str, int], tmp_path: Path) -> None:
    path = _zip(tmp_path / "upload", dict.fromkeys(names, b"x"))
    report = describe(path, ArchiveLimits())
    assert (report.kind, report.images) == ("images", images)


def test_parquet_files_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(b"PAR1 something PAR1")
    assert describe(tmp_path / "upload", ArchiveLimits()).kind == "parquet"
    assert describe(_zip(tmp_path / "zip", {"train.parquet": b"x"}), ArchiveLimits()).kind == "parquet"


def test_the_process_says_what_it_found(tmp_path: Path) -> None:
    path = _zip(tmp_path / "upload", {"cat/1.png": b"1234"})
    assert inspect_archive(path) == describe(path, ArchiveLimits())
    assert inspect_archive(path).unpacked_bytes == 4


def test_the_process_passes_the_reason_on(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the uploaded data set is refused: 'a/../../1.png' leads out"):
        inspect_archive(_zip(tmp_path / "upload", {"a/../../1.png": b"x"}))


def test_a_process_that_runs_out_of_memory_refuses(tmp_path: Path) -> None:
    path = _zip(tmp_path / "upload", {f"a/{i}.png": b"" for i in range(10_000)})
    with pytest.raises(BadInput, match="more memory than is allowed|ended the process"):
        inspect_archive(path, ArchiveLimits(memory_bytes=1 << 20))


def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="more than 0 s"):
        inspect_archive(_zip(tmp_path / "upload", {"a/1.png": b"x"}), ArchiveLimits(seconds=0))
