"""The HTTP client: what a user, a script and a worker say to the server, typed.

>>> from layerprune.api.client import Client
>>> from layerprune.api.jobs import DatasetSpec, JobRequest, ModelSpec
>>> with Client() as client:  # doctest: +SKIP
...     job = client.submit(JobRequest(model=ModelSpec(name="cifar:resnet20"), dataset=DatasetSpec(name="digits")))
...     job = client.wait(job.id)
...     print(client.comparison(job.id).devices[0].summary)
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from .catalogue import CriterionInfo, DatasetInfo, ModelInfo
from .connection import ANSWER_S, RETRY_WAITS_S, Address, Connection
from .errors import LayerPruneError, NotAuthenticated
from .jobs import EventList, JobList, JobRequest, JobState, JobView
from .leaderboard import Comparison, Leaderboard, VariantView
from .wire import Wire
from .workers import (
    Accepted,
    ClaimedTask,
    Control,
    DeviceCreated,
    DeviceSpec,
    DeviceView,
    FailureReport,
    Heartbeat,
    ResultReport,
    WorkerRegistered,
    WorkerRegistration,
)

FINISHED: tuple[JobState, ...] = ("done", "failed", "cancelled")
"""The states that a job does not leave."""

T = TypeVar("T")


class Client:
    """Talk to one LayerPrune server; safe to use from several threads.

    Without arguments it reads LAYERPRUNE_URL, LAYERPRUNE_TOKEN and LAYERPRUNE_DATA; on the server's own machine it
    finds address and token in the data folder (default ./layerprune-data). Errors are those of `layerprune.api.errors`,
    with the server's words; an outage of a few seconds is bridged wherever sending again does no harm.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        data: Path | str | None = None,
        retry_waits_s: tuple[float, ...] = RETRY_WAITS_S,
    ) -> None:
        self.address = Address.find(url, token, data=data)
        self._connection = Connection(self.address, retry_waits_s=retry_waits_s)

    @property
    def url(self) -> str:
        return self.address.url

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def check_health(self, *, timeout_s: float = ANSWER_S) -> None:
        """Return if the server answers; needs no token."""
        self._connection.request("GET", "/healthz", timeout_s=timeout_s)

    def list_models(self) -> list[ModelInfo]:
        return self._get("/v1/models", list[ModelInfo])

    def list_datasets(self) -> list[DatasetInfo]:
        return self._get("/v1/datasets", list[DatasetInfo])

    def list_criteria(self) -> list[CriterionInfo]:
        return self._get("/v1/criteria", list[CriterionInfo])

    def list_devices(self) -> list[DeviceView]:
        return self._get("/v1/devices", list[DeviceView])

    def create_device(self, device: DeviceSpec) -> DeviceCreated:
        """Announce a piece of hardware; the answer holds the token with which its worker registers, this once."""
        return self._post("/v1/devices", DeviceCreated, device.model_dump(mode="json"))

    def create_login_link(self) -> str:
        """Return a link that signs one browser in, once."""
        return self._post("/v1/login-links", dict[str, str])["url"]

    # --- jobs ---

    def submit(self, request: JobRequest, *, idempotency_key: str | None = None) -> JobView:
        """Create a job; the same key always means the same job, so a lost answer is no second job."""
        key = idempotency_key or uuid.uuid4().hex
        # What the caller left out stays out: the server's defaults are the ones that hold.
        body = request.model_dump(mode="json", exclude_unset=True)
        return self._post("/v1/jobs", JobView, body, headers={"Idempotency-Key": key}, idempotent=True)

    def list_jobs(
        self, *, limit: int | None = None, cursor: str | None = None, state: JobState | None = None
    ) -> JobList:
        return self._get("/v1/jobs", JobList, limit=limit, cursor=cursor, state=state)

    def get_job(self, job_id: str) -> JobView:
        return self._get(f"/v1/jobs/{_segment(job_id)}", JobView)

    def cancel(self, job_id: str) -> JobView:
        """Stop a job; cancelling twice, or one that has ended, changes nothing."""
        return self._post(f"/v1/jobs/{_segment(job_id)}/cancel", JobView, idempotent=True)

    def list_events(self, job_id: str, *, after: int = 0, wait_s: float = 0) -> EventList:
        """Return what happened after event `after`; with `wait_s`, wait that long for the next."""
        params = {"after": after, "wait": wait_s}
        response = self._request("GET", f"/v1/jobs/{_segment(job_id)}/events", params=params, wait_s=wait_s)
        return _parsed(response, EventList)

    def follow(self, job_id: str, *, wait_s: float = 25) -> Iterator[JobView]:
        """Yield the job now, at every event, and at least every `wait_s` seconds, until it has finished."""
        after = 0
        while True:
            job = self.get_job(job_id)
            yield job
            if job.state in FINISHED:
                return
            after = self.list_events(job_id, after=after, wait_s=wait_s).next_after

    def wait(self, job_id: str) -> JobView:
        """Return the job once it has finished, whatever its end."""
        *_, last = self.follow(job_id)
        return last

    # --- results ---

    def get_leaderboard(
        self,
        *,
        model: str | None = None,
        dataset: str | None = None,
        device: str | None = None,
        method: str | None = None,
        criterion: str | None = None,
        max_latency_ms: float | None = None,
        min_accuracy: float | None = None,
        front: bool | None = None,
        job: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Leaderboard:
        """Return one page of measured variants, fastest first."""
        return self._get(
            "/v1/leaderboard",
            Leaderboard,
            model=model,
            dataset=dataset,
            device=device,
            method=method,
            criterion=criterion,
            max_latency_ms=max_latency_ms,
            min_accuracy=min_accuracy,
            front=front,
            job=job,
            limit=limit,
            cursor=cursor,
        )

    def comparison(self, job_id: str) -> Comparison:
        """Return who wins per device and target, with intervals and in sentences."""
        return self._get(f"/v1/jobs/{_segment(job_id)}/comparison", Comparison)

    def get_variant(self, variant_id: str) -> VariantView:
        """Return one trained network with its plan, curve, files and measurements."""
        return self._get(f"/v1/variants/{_segment(variant_id)}", VariantView)

    # --- artifacts ---

    def upload(self, path: Path | str) -> str:
        """Store a file on the server, unless it is there already, and return its SHA-256 digest."""
        source = Path(path)
        digest = _digest_of(source)
        address = f"/v1/artifacts/sha256/{digest}"
        if not self._connection.exists(address):
            self._connection.put_file(address, source)
        return digest

    def download(self, digest: str, path: Path | str) -> Path:
        """Fetch an artifact into `path`, which appears only when it is complete and its digest right."""
        target = Path(path)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(handle)
        partial = Path(name)
        try:
            self._connection.get_file(f"/v1/artifacts/sha256/{_segment(digest)}", partial)
            found = _digest_of(partial)
            if found != digest:
                raise LayerPruneError(
                    f"the server sent {found} when asked for {digest}",
                    value=found,
                    code="digest_invalid",
                    remedy="Download again; if it stays wrong, the server's store is damaged.",
                )
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return target

    # --- for workers ---

    def register_worker(self, registration: WorkerRegistration) -> WorkerRegistered:
        """Announce this start of a worker; the token in the answer comes once."""
        return self._post("/v1/workers", WorkerRegistered, registration.model_dump(mode="json"))

    def claim(self, wait_s: float = 25) -> ClaimedTask | None:
        """Wait for a task that this worker can do; None if there is none yet."""
        # Not sent again after a lost answer: the task in it would be leased to a worker that does not know.
        response = self._request("GET", "/v1/tasks/claim", params={"wait": wait_s}, wait_s=wait_s, idempotent=False)
        return None if response.status_code == 204 else _parsed(response, ClaimedTask)

    def control(self, attempt_id: str, lease: str, wait_s: float = 25) -> Control:
        """Wait for the server's word to a running attempt."""
        path = f"/v1/attempts/{_segment(attempt_id)}/control"
        response = self._request("GET", path, params={"wait": wait_s}, headers=_lease(lease), wait_s=wait_s)
        return _parsed(response, Control)

    def heartbeat(self, attempt_id: str, lease: str, beat: Heartbeat) -> Control:
        """Renew the lease and tell the progress."""
        return self._report(attempt_id, "heartbeat", lease, beat, Control)

    def result(self, attempt_id: str, lease: str, report: ResultReport) -> Accepted:
        """Hand in what the task found; the same result again gets the same answer."""
        return self._report(attempt_id, "result", lease, report, Accepted)

    def failure(self, attempt_id: str, lease: str, report: FailureReport) -> Accepted:
        """Hand in why the task failed."""
        return self._report(attempt_id, "failure", lease, report, Accepted)

    def _report(self, attempt_id: str, what: str, lease: str, body: Wire, answer: type[T]) -> T:
        path = f"/v1/attempts/{_segment(attempt_id)}/{what}"
        # Not mode="json", which would turn NaN into null without a word.
        return self._post(path, answer, body.model_dump(), headers=_lease(lease), idempotent=True)

    def _get(self, path: str, answer: type[T], **params: object) -> T:
        return _parsed(self._request("GET", path, params=params), answer)

    def _post(self, path: str, answer: type[T], body: Any = None, **how: Any) -> T:
        return _parsed(self._request("POST", path, body=body, **how), answer)

    def _request(self, method: str, path: str, *, wait_s: float = 0, **how: Any) -> httpx.Response:
        if self.address.token is None:
            raise NotAuthenticated(
                f"there is no token for {self.url}",
                remedy="Start a server here with 'layerprune up', or set LAYERPRUNE_TOKEN, or set LAYERPRUNE_DATA to"
                " the server's data folder.",
            )
        return self._connection.request(method, path, timeout_s=ANSWER_S + wait_s, **how)


def _parsed(response: httpx.Response, answer: type[T]) -> T:
    try:
        # A newer server may answer with more fields than we know.
        return TypeAdapter(answer).validate_json(response.content, extra="ignore")
    except ValidationError as error:
        raise LayerPruneError(
            f"the server's answer to {response.request.url.path} is not what this version expects: {error}",
            code="unexpected_answer",
            remedy="Use the same version of layerprune on both sides.",
        ) from error


def _segment(name: str) -> str:
    return quote(name, safe="")


def _lease(token: str) -> dict[str, str]:
    return {"Layerprune-Lease": token}


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while piece := content.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
