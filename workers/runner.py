"""Do one task from its inputs to its report: download, run, upload, and turn whatever happens into a closed reason."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from layerprune import faults
from layerprune.api.client import Client
from layerprune.api.errors import BadInput, LayerPruneError
from layerprune.api.wire import Wire
from layerprune.api.workers import ClaimedTask, FailureReport, ResultReport

from .cache import Cache
from .checkpoints import CheckpointUpload
from .child import REASONS, TaskFailure
from .execution import Executor, stopped_by_request
from .kinds import KINDS
from .lease import Lease
from .stopping import Stop, Stopped
from .uploads import replace_artifacts

T = TypeVar("T")

KEPT_FAILURES = 5
"""So many folders of failed tasks stay for a look; more would fill the disk of a board that runs for months."""


class Runner:
    """Runs tasks one after the other, each in a folder of its own below `folder`."""

    def __init__(self, folder: Path, *, client: Client, cache: Cache, executor: Executor, stop: Stop) -> None:
        self._folder = folder
        self._client = client
        self._cache = cache
        self._executor = executor
        self._stop = stop

    def run(self, task: ClaimedTask, lease: Lease) -> ResultReport | FailureReport | None:
        """Run the task and return what to report; None if the lease is lost, for then nobody would listen."""
        outcome = self._attempt(task, lease)
        if lease.ended == "lost":
            return None
        if lease.ended == "cancelled":
            outcome = TaskFailure(reason="cancelled", message="cancelled while it ran")
        if isinstance(outcome, TaskFailure):
            return FailureReport(attempt_no=task.attempt_no, reason=outcome.reason, message=outcome.message[:20_000])
        return ResultReport(attempt_no=task.attempt_no, result=outcome.model_dump(mode="json"))

    def clear(self, task: ClaimedTask) -> None:
        """Remove the task's folder."""
        shutil.rmtree(self._path(task), ignore_errors=True)

    def tidy(self) -> None:
        """Remove the folders of all but the latest failed tasks. Call it between tasks."""
        folders = sorted(self._folder.iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
        for folder in folders[:-KEPT_FAILURES]:
            shutil.rmtree(folder, ignore_errors=True)

    def _attempt(self, task: ClaimedTask, lease: Lease) -> Wire | TaskFailure:
        try:
            return self._work(task, lease)
        except Stopped:
            return stopped_by_request()
        except LayerPruneError as error:
            reason = error.code if error.code in REASONS else "infra"
            return TaskFailure.model_validate({"reason": reason, "message": error.told})
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            return TaskFailure(reason="disk_full" if full else "infra", message=f"files of the worker: {error}")

    def _work(self, task: ClaimedTask, lease: Lease) -> Wire | TaskFailure:
        kind = KINDS[task.kind]
        folder = self._path(task)
        inputs = folder / "inputs"
        inputs.mkdir(parents=True)
        for digest in task.inputs:
            self._persist(lease, partial(self._cache.fetch, digest, inputs / digest))
        states = CheckpointUpload(folder, lease, self._client.upload)
        outcome = self._executor.execute(
            kind, task.payload, folder, deadline_s=task.deadline_s, lease=lease, on_progress=states.look
        )
        if isinstance(outcome, TaskFailure):
            return outcome
        result = replace_artifacts(outcome, lambda name: self._upload(lease, folder, name))
        faults.point("worker.uploaded")
        return result

    def _upload(self, lease: Lease, folder: Path, name: str) -> str:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            raise BadInput("a result may name only files of its task's folder", field="artifact", value=name)
        digest = self._persist(lease, lambda: self._client.upload(path))
        self._cache.add(digest, path)
        return digest

    def _persist(self, lease: Lease, call: Callable[[], T]) -> T:
        return self._stop.persist(call, until=lambda: lease.ended is not None or lease.seconds_left() <= 0)

    def _path(self, task: ClaimedTask) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", task.attempt_id):
            raise BadInput("this is no attempt's id", field="attempt_id", value=task.attempt_id)
        return self._folder / task.attempt_id
