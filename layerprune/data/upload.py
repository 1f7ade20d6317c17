"""Unpack an uploaded data set."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path
from typing import IO

from layerprune.api.errors import BadInput
from layerprune.inspection.archive_file import ArchiveLimits, check_zip, describe

_CHUNK = 1 << 20


def unpack(upload: Path, folder: Path, limits: ArchiveLimits | None = None) -> Path:
    """Unpack images and parquet files of a zip file into the folder, and return where they are.

    A parquet file stays where it is. Only plain files are written, with names that were checked, and never more bytes
    than the limits and the zip's own directory say. Nothing is executed. Raises BadInput.
    """
    limits = limits or ArchiveLimits()
    if describe(upload, limits).kind == "parquet" and not zipfile.is_zipfile(upload):
        return upload
    shutil.rmtree(folder, ignore_errors=True)
    entries = check_zip(upload, limits)
    with zipfile.ZipFile(upload) as archive:
        for entry in entries:
            target = folder / entry.filename
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as packed, target.open("xb") as file:
                    _copy(packed, file, entry)
            except (zipfile.BadZipFile, zlib.error, EOFError, FileExistsError, NotADirectoryError) as error:
                raise _broken(entry.filename, str(error)) from error
    return folder


def _copy(packed: IO[bytes], file: IO[bytes], entry: zipfile.ZipInfo) -> None:
    written = 0
    while chunk := packed.read(_CHUNK):
        written += len(chunk)
        if written > entry.file_size:
            raise _broken(entry.filename, f"it is larger than the {entry.file_size} bytes that it claims to have")
        file.write(chunk)


def _broken(name: str, why: str) -> BadInput:
    return BadInput(
        f"the uploaded data set is broken at {ascii(name[:80])}: {why}",
        field="dataset.upload",
        value=name[:80],
        remedy="Make the zip file anew and send it again.",
    )
