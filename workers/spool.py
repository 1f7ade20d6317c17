"""Final reports on the worker's disk, so that a result survives the worker and the server.

A report is written and synced before it is sent for the first time, and removed once the server has given its final
word.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from layerprune.api.client import Client
from layerprune.api.wire import Wire
from layerprune.api.workers import FailureReport, ResultReport

log = logging.getLogger(__name__)

KEEP_S = 24 * 3600.0


class Report(Wire):
    """The outcome of one attempt: exactly one of result and failure."""

    attempt_id: str
    lease_token: str
    result: ResultReport | None = None
    failure: FailureReport | None = None

    def send(self, client: Client) -> None:
        """Hand the report in; raises what the server has against it."""
        if self.result is not None:
            client.result(self.attempt_id, self.lease_token, self.result)
        elif self.failure is not None:
            client.failure(self.attempt_id, self.lease_token, self.failure)


class Spool:
    """Reports that the server has not accepted yet, oldest first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # Reports hold lease tokens.
        folder.chmod(0o700)

    def put(self, report: Report) -> Path:
        """Write a report to the disk; it is there for good when this returns."""
        path = self._folder / f"{report.attempt_id}.json"
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            file.write(report.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return path

    def __iter__(self) -> Iterator[tuple[Path, Report]]:
        for leftover in self._folder.glob("*.part"):
            leftover.unlink()
        for path in sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime):
            if self.is_old(path):
                path.unlink()
                continue
            try:
                report = Report.model_validate_json(path.read_bytes())
            except ValidationError as error:
                log.error("cannot read the report %s, so it is dropped: %s", path, error)
                path.unlink()
            else:
                yield path, report

    def is_old(self, path: Path | None) -> bool:
        """Say whether a report has been kept for so long that nobody waits for it any more."""
        return path is not None and time.time() - path.stat().st_mtime > KEEP_S
