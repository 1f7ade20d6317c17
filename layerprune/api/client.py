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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .calls import parsed, segment
from .catalogue import CriterionInfo, DatasetInfo, ModelInfo
from .comparison import Comparison, LatencyComparison, Matrix
from .device_reports import ReportView
from .errors import LayerPruneError
from .external import ExternalList, ExternalRow, NewExternal
from .jobs import EventList, JobList, JobRequest, JobState, JobView
from .leaderboard import Leaderboard, VariantView
from .uploads import NewUpload, UploadKind, UploadList, UploadView
from .worker_calls import WorkerCalls
from .workers import DeviceCreated, DeviceSpec, DeviceView

FINISHED: tuple[JobState, ...] = ("done", "failed", "cancelled")
"""The states that a job does not leave."""


class Client(WorkerCalls):
    """Talk to one LayerPrune server; safe to use from several threads.

    Without arguments it reads LAYERPRUNE_URL, LAYERPRUNE_TOKEN and LAYERPRUNE_DATA; on the server's own machine it
    finds address and token in the data folder (default ./layerprune-data). Errors are those of `layerprune.api.errors`,
    with the server's words; an outage of a few seconds is bridged wherever sending again does no harm.
    """

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

    def list_device_reports(self, device: str) -> list[ReportView]:
        """Return what `layerprune device check` found on a device, the newest first."""
        return self._get(f"/v1/devices/{segment(device)}/reports", list[ReportView])

    def get_device_report(self, device: str, report_id: str) -> ReportView:
        """Return one report as it came."""
        return self._get(f"/v1/devices/{segment(device)}/reports/{segment(report_id)}", ReportView)

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
        return self._get(f"/v1/jobs/{segment(job_id)}", JobView)

    def cancel(self, job_id: str) -> JobView:
        """Stop a job; cancelling twice, or one that has ended, changes nothing."""
        return self._post(f"/v1/jobs/{segment(job_id)}/cancel", JobView, idempotent=True)

    def list_events(self, job_id: str, *, after: int = 0, wait_s: float = 0) -> EventList:
        """Return what happened after event `after`; with `wait_s`, wait that long for the next."""
        params = {"after": after, "wait": wait_s}
        response = self._request("GET", f"/v1/jobs/{segment(job_id)}/events", params=params, wait_s=wait_s)
        return parsed(response, EventList)

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
        comparable_key: str | None = None,
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
            comparable_key=comparable_key,
            limit=limit,
            cursor=cursor,
        )

    def import_timings(self, path: Path | str, **about: Any) -> ExternalRow:
        """Store a file of another tool and what it says; `about` are the fields of `NewExternal` beside the digest."""
        new = NewExternal(digest=self.upload(path), **about)
        return self._post("/v1/external", ExternalRow, new.model_dump(mode="json"), idempotent=True)

    def list_external(self, *, device: str | None = None, model: str | None = None) -> list[ExternalRow]:
        """Return what other tools measured; none of it is verified."""
        return self._get("/v1/external", ExternalList, device=device, model=model).rows

    def comparison(self, job_id: str) -> Comparison:
        """Return who wins per device and target, with intervals and in sentences."""
        return self._get(f"/v1/jobs/{segment(job_id)}/comparison", Comparison)

    def compare_latencies(self, measurements: Sequence[str]) -> LatencyComparison:
        """Return the latency of measured rows against the first one's; they must share their conditions."""
        return self._get("/v1/latencies", LatencyComparison, measurement=list(measurements))

    def matrix(self, job_id: str) -> Matrix:
        """Return which family wins on which device and under which settings."""
        return self._get(f"/v1/jobs/{segment(job_id)}/matrix", Matrix)

    def get_variant(self, variant_id: str) -> VariantView:
        """Return one trained network with its plan, curve, files and measurements."""
        return self._get(f"/v1/variants/{segment(variant_id)}", VariantView)

    # --- artifacts ---

    def upload(self, path: Path | str, *, kind: UploadKind | None = None) -> str:
        """Store a file on the server, unless it is there already, and return its SHA-256 digest.

        With a `kind` the server looks at the file and enters it into the list of uploads, for jobs to name it.
        """
        source = Path(path)
        digest = digest_of(source)
        address = f"/v1/artifacts/sha256/{digest}"
        if not self._connection.exists(address):
            self._connection.put_file(address, source)
        if kind is not None:
            body = NewUpload(digest=digest, kind=kind, name=source.name).model_dump(mode="json")
            self._post("/v1/uploads", UploadView, body, idempotent=True)
        return digest

    def list_uploads(self, *, kind: UploadKind | None = None) -> list[UploadView]:
        """Return the files that were uploaded to be named in jobs, the latest first."""
        return self._get("/v1/uploads", UploadList, kind=kind).uploads

    def download(self, digest: str, path: Path | str) -> Path:
        """Fetch an artifact into `path`, which appears only when it is complete and its digest right."""
        target = Path(path)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(handle)
        partial = Path(name)
        try:
            self._connection.get_file(f"/v1/artifacts/sha256/{segment(digest)}", partial)
            found = digest_of(partial)
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


def digest_of(path: Path) -> str:
    """Compute a file's SHA-256 digest, in lower-case hex, by which the server knows it."""
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while piece := content.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
