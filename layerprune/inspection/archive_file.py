"""Look into an uploaded data set that may be hostile: a zip file of images or parquet files, or one parquet file.

`inspect_archive` looks in a process of its own that has little memory and time and may write no file; nothing is
unpacked. `check_zip` is the check itself, which whoever unpacks repeats.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from layerprune.api.errors import BadInput
from layerprune.api.wire import Wire

from .confinement import Limits, Refused, confine, look
from .layout import SUFFIXES, is_hidden, splits_by_name

_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst"})
_PARQUET = b"PAR1"
_ZIP = b"PK\x03\x04"


class ArchiveLimits(Limits):
    """The defaults fit sets of some hundred thousand images; larger ones belong below a data root of the worker."""

    max_entries: int = 500_000
    max_unpacked_bytes: int = 32 << 30
    max_ratio: int = 100
    """Unpacked to packed bytes, of every file of 1 MiB and more and of all together; images hardly shrink at all."""
    max_name_bytes: int = 512
    max_depth: int = 8
    memory_bytes: int = 2 << 30


class ArchiveReport(Wire):
    """What an upload holds, found acceptable."""

    kind: Literal["images", "parquet"]
    files: int
    unpacked_bytes: int
    images: dict[str, int] = {}
    """Images per class, training images where there are parts; only of folders of images."""


def inspect_archive(path: Path, limits: ArchiveLimits | None = None) -> ArchiveReport:
    """Describe the file, or raise BadInput with the reason."""
    try:
        found = look("layerprune.inspection.archive_file", limits or ArchiveLimits(), arguments=[str(path.resolve())])
    except Refused as refused:
        raise _refusal(str(refused)) from refused
    return ArchiveReport.model_validate(found)


def describe(path: Path, limits: ArchiveLimits) -> ArchiveReport:
    """Say what the file holds, in this process. Raises BadInput."""
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(-4, os.SEEK_END) if path.stat().st_size >= 4 else None
        end = file.read(4)
    if start == _PARQUET:
        if end != _PARQUET:
            raise _refusal("the parquet file is cut off")
        return ArchiveReport(kind="parquet", files=1, unpacked_bytes=path.stat().st_size)
    if start != _ZIP:
        raise _refusal("it is neither a zip nor a parquet file")
    wanted = check_zip(path, limits)
    names = [entry.filename for entry in wanted]
    size = sum(entry.file_size for entry in wanted)
    if any(name.lower().endswith(".parquet") for name in names):
        return ArchiveReport(kind="parquet", files=len(names), unpacked_bytes=size)
    classes = _classes([PurePosixPath(name).parts for name in names])
    return ArchiveReport(kind="images", files=len(names), unpacked_bytes=size, images=classes)


def check_zip(path: Path, limits: ArchiveLimits) -> list[zipfile.ZipInfo]:
    """Return the images and parquet files in a zip file by what its directory says. Raises BadInput.

    What it says may be a lie; who unpacks must count the real bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _refusal(f"it is no zip file, or a part of one ({error})") from error
    if len(entries) > limits.max_entries:
        raise _refusal(f"it has {len(entries)} entries, {limits.max_entries} are accepted")
    for entry in entries:
        _check_entry(entry, limits)
    total, packed = sum(entry.file_size for entry in entries), max(1, path.stat().st_size)
    if total > limits.max_unpacked_bytes:
        raise _refusal(f"it unpacks to {total} bytes, {limits.max_unpacked_bytes} are accepted")
    if total > limits.max_ratio * packed and total >= 1 << 20:
        raise _refusal(f"it unpacks to {total // packed} times its size, {limits.max_ratio} times are accepted")
    repeated, count = Counter(entry.filename for entry in entries).most_common(1)[0] if entries else ("", 1)
    if count > 1:
        raise _refusal(f"it has {count} entries called {repeated!r}")
    wanted = [entry for entry in entries if _is_wanted(entry)]
    if not wanted:
        kinds = ", ".join(sorted(SUFFIXES))
        raise _refusal(f"it holds no images ({kinds}) and no parquet files among its {len(entries)} entries")
    return wanted


def _check_entry(entry: zipfile.ZipInfo, limits: ArchiveLimits) -> None:
    name, shown = entry.orig_filename, ascii(entry.orig_filename[:80])
    path = PurePosixPath(name)
    mode = entry.external_attr >> 16
    if not name or len(name.encode(errors="replace")) > limits.max_name_bytes:
        raise _refusal(f"the name {shown} is empty or longer than {limits.max_name_bytes} bytes")
    if any(ord(character) < 32 or character in "\\:\x7f" for character in name):
        raise _refusal(f"the name {shown} has control characters, a backslash or a colon")
    if path.is_absolute() or ".." in path.parts:
        raise _refusal(f"{shown} leads out of the folder into which it would be unpacked")
    if len(path.parts) > limits.max_depth:
        raise _refusal(f"{shown} lies more than {limits.max_depth} folders deep")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refusal(f"{shown} is a link or a special file")
    if entry.flag_bits & 1:
        raise _refusal(f"{shown} is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _refusal(f"{shown} is compressed by method {entry.compress_type}; only deflate is accepted")
    if path.suffix.lower() in _ARCHIVES:
        raise _refusal(f"{shown} is an archive inside the archive")
    if entry.file_size >= 1 << 20 and entry.file_size > limits.max_ratio * max(1, entry.compress_size):
        raise _refusal(
            f"{shown} unpacks to {entry.file_size} bytes from {entry.compress_size}; "
            f"{limits.max_ratio} times are accepted"
        )


def _is_wanted(entry: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(entry.filename)
    if entry.is_dir() or any(is_hidden(part) for part in path.parts):
        return False
    return path.suffix.lower() in SUFFIXES | {".parquet"}


def _classes(paths: Sequence[tuple[str, ...]]) -> dict[str, int]:
    """Count images per class folder, as the worker will find them: below one common folder, possibly in parts."""
    while len(_heads(paths)) == 1 and all(len(path) > 2 for path in paths):
        paths = [path[1:] for path in paths]
    train = splits_by_name(_heads(paths)).get("train")
    if train is not None:
        paths = [path[1:] for path in paths if path[0] == train]
    return dict(sorted(Counter(path[0] for path in paths if len(path) > 1).items()))


def _heads(paths: Iterable[tuple[str, ...]]) -> set[str]:
    return {path[0] for path in paths}


def _refusal(message: str) -> BadInput:
    return BadInput(
        f"the uploaded data set is refused: {message}",
        field="dataset.upload",
        remedy="Send a zip of a folder with one folder of images per class, or parquet files; keep larger sets below a "
        "data root of the worker.",
    )


def main() -> None:
    """Print what the file given as the second argument is, or why it is refused, as one line of JSON."""
    limits = ArchiveLimits.model_validate_json(sys.argv[1])
    confine(limits)
    try:
        answer = describe(Path(sys.argv[2]), limits).model_dump_json()
    except BadInput as refused:
        answer = json.dumps({"refused": refused.message.partition(": ")[2]})
    except MemoryError:
        answer = json.dumps({"refused": "its directory takes more memory than is allowed"})
    sys.stdout.write(answer + "\n")


if __name__ == "__main__":
    main()
