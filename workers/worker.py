"""The agent: register, claim a task, run it, report, again. It knows no runtime and imports no torch."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from layerprune import faults
from layerprune.api.catalogue import Catalogue
from layerprune.api.client import Client
from layerprune.api.errors import BadInput, Conflict, LayerPruneError
from layerprune.api.workers import ClaimedTask, FailureReport, ResultReport

from . import hostlock
from .cache import Cache
from .catalogue import LIBRARY, LIBRARY_S, check_build_packages
from .children import Zygote
from .config import WorkerSettings
from .execution import Executor
from .lease import Lease
from .registration import OwnToken, describe, register
from .runner import Runner
from .spool import Report, Spool
from .stopping import Stop, Stopped

log = logging.getLogger(__name__)


class Worker:
    """One worker process, for one device or for builds only; `run` returns when it is told to stop.

    Its children die with the thread that calls `run`.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        if "measure" in settings.roles and settings.device is None:
            raise BadInput("a worker that measures needs the name of its device", field="device")
        self._settings = settings
        self._builds = "build" in settings.roles
        if self._builds:
            check_build_packages()
        self._folder = settings.folder.absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._tasks = self._folder / "tasks"
        self._own_token = OwnToken(self._folder / "token")
        self._spool = Spool(self._folder / "spool")
        self._stop = Stop()
        lock_folder = settings.lock_folder or hostlock.default_folder()
        self._zygote = Zygote(self._folder, lock_folder, environment=settings.build_environment)
        self._executor = Executor(self._zygote, lock_folder, self._stop, settings.measure_environment)

    def stop(self) -> None:
        """Ask it to stop, from another thread: what it does now is given back, to be done anew."""
        self._stop.request()

    def run(self) -> None:
        """Work until told to stop, by `stop` or, in the main thread, by SIGTERM or SIGINT.

        Raises NotAuthenticated, UpgradeRequired or another error of ours when the server will not have this worker, and
        Conflict when a worker of this name runs already.
        """
        with ExitStack() as undo:
            undo.enter_context(self._alone())
            undo.callback(self._zygote.stop)
            if threading.current_thread() is threading.main_thread():
                undo.enter_context(self._stop.on_signals())
            try:
                self._work(undo)
            except Stopped:
                log.info("worker %s stops", self._settings.name)

    def _work(self, undo: ExitStack) -> None:
        # What an earlier life left there; its leases end with the registration.
        shutil.rmtree(self._tasks, ignore_errors=True)
        self._tasks.mkdir()
        if self._builds:
            self._zygote.ensure()
        self._deliver_leftovers()
        registration = describe(self._settings, self._library() if self._builds else Catalogue())
        client = undo.enter_context(register(self._settings, registration, self._own_token, self._stop))
        cache = Cache(self._folder / "cache", limit_bytes=self._settings.cache_bytes, download=client.download)
        runner = Runner(self._tasks, client=client, cache=cache, executor=self._executor, stop=self._stop)
        while True:
            with self._stop.breakable():
                task = self._stop.persist(lambda: client.claim(self._settings.claim_wait_s))
            if task is not None:
                self._do(client, runner, task)
            elif self._builds:
                self._zygote.ensure()

    def _library(self) -> Catalogue:
        folder = self._tasks / "catalogue"
        folder.mkdir()
        found = self._executor.execute(LIBRARY, {}, folder, deadline_s=LIBRARY_S)
        if self._stop.requested:
            raise Stopped
        if not isinstance(found, Catalogue):
            raise LayerPruneError(f"cannot list what this machine can build: {found}", code="crashed")
        shutil.rmtree(folder)
        return found

    def _do(self, client: Client, runner: Runner, task: ClaimedTask) -> None:
        log.info("%s (attempt %d)", task.title, task.attempt_no)
        with Lease(client, task) as lease:
            outcome = runner.run(task, lease)
            if outcome is None:
                log.warning("%s: the lease was lost, the work is dropped", task.title)
            else:
                self._report(client, task, outcome)
        # The folders of the latest failed tasks stay for a look until the next start.
        if not isinstance(outcome, FailureReport) or outcome.reason in ("cancelled", "lease_expired", "given_back"):
            runner.clear(task)
        else:
            runner.tidy()

    def _report(self, client: Client, task: ClaimedTask, outcome: ResultReport | FailureReport) -> None:
        """Hand in an outcome; a result that the server finds wrong is handed in as a failure."""
        report = Report(attempt_id=task.attempt_id, lease_token=task.lease_token)
        if isinstance(outcome, FailureReport):
            log.warning("%s: %s: %s", task.title, outcome.reason, outcome.message)
            self._deliver(client, report.model_copy(update={"failure": outcome}))
            return
        refusal = self._deliver(client, report.model_copy(update={"result": outcome}))
        if refusal is not None and refusal.status == BadInput.status:
            failure = FailureReport(
                attempt_no=task.attempt_no,
                reason="bad_input",
                message=f"the server refused the result: {refusal.message}"[:20_000],
            )
            self._deliver(client, report.model_copy(update={"failure": failure}))

    def _deliver(self, client: Client, report: Report) -> LayerPruneError | None:
        """Put a report on the disk, then send it; returns the server's refusal."""
        path: Path | None = None
        try:
            path = self._spool.put(report)
        except OSError as error:
            log.error("cannot keep the report on the disk (%s); sending it all the same", error)
        faults.point("worker.spooled")
        return self._send(client, report, path)

    def _send(self, client: Client, report: Report, path: Path | None) -> LayerPruneError | None:
        """Send a report until the server has said its word; a worker that stops leaves it on the disk."""
        refusal: LayerPruneError | None = None
        try:
            self._stop.persist(
                lambda: report.send(client), until=lambda: self._stop.requested or self._spool.is_old(path)
            )
        except LayerPruneError as error:
            log.warning("report on attempt %s: %s", report.attempt_id, error.message)
            if error.status >= 500:
                return None
            refusal = error
        if path is not None:
            path.unlink(missing_ok=True)
        return refusal

    def _deliver_leftovers(self) -> None:
        """Send what an earlier life could not, before the registration ends the leases of that life."""
        token = self._own_token.find()
        if token is None:
            return
        with Client(self._settings.url, token, data=self._settings.data) as client:
            for path, report in self._spool:
                self._send(client, report, path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the worker's folder, so that no second process of this name uses it."""
        with (self._folder / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                raise Conflict(
                    f"worker {self._settings.name!r} runs already on {self._folder} (process {file.read().strip()})",
                    value=self._settings.name,
                    remedy="Stop that one first, or give this one another name.",
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
