"""What a worker says to the server."""

from __future__ import annotations

from typing import TypeVar

from .calls import Calls, parsed, segment
from .device_reports import DeviceReport, ReportView
from .wire import Wire
from .workers import (
    Accepted,
    ClaimedTask,
    Control,
    FailureReport,
    Heartbeat,
    ResultReport,
    WorkerRegistered,
    WorkerRegistration,
)

T = TypeVar("T")


class WorkerCalls(Calls):
    """Register, claim, and report under the lease that a claim gave."""

    def register_worker(self, registration: WorkerRegistration) -> WorkerRegistered:
        """Announce this start of a worker; the token in the answer comes once."""
        return self._post("/v1/workers", WorkerRegistered, registration.model_dump(mode="json"))

    def claim(self, wait_s: float = 25) -> ClaimedTask | None:
        """Wait for a task that this worker can do; None if there is none yet."""
        # Not sent again after a lost answer: the task in it would be leased to a worker that does not know.
        response = self._request("GET", "/v1/tasks/claim", params={"wait": wait_s}, wait_s=wait_s, idempotent=False)
        return None if response.status_code == 204 else parsed(response, ClaimedTask)

    def control(self, attempt_id: str, lease: str, wait_s: float = 25) -> Control:
        """Wait for the server's word to a running attempt."""
        path = f"/v1/attempts/{segment(attempt_id)}/control"
        response = self._request("GET", path, params={"wait": wait_s}, headers=_lease(lease), wait_s=wait_s)
        return parsed(response, Control)

    def heartbeat(self, attempt_id: str, lease: str, beat: Heartbeat) -> Control:
        """Renew the lease and tell the progress."""
        return self._report(attempt_id, "heartbeat", lease, beat, Control)

    def result(self, attempt_id: str, lease: str, report: ResultReport) -> Accepted:
        """Hand in what the task found; the same result again gets the same answer."""
        return self._report(attempt_id, "result", lease, report, Accepted)

    def failure(self, attempt_id: str, lease: str, report: FailureReport) -> Accepted:
        """Hand in why the task failed."""
        return self._report(attempt_id, "failure", lease, report, Accepted)

    def send_device_report(self, device: str, report: DeviceReport) -> ReportView:
        """Hand in what a check of the device found; the same report again is the same row."""
        path = f"/v1/devices/{segment(device)}/reports"
        return self._post(path, ReportView, report.model_dump(mode="json"), idempotent=True)

    def _report(self, attempt_id: str, what: str, lease: str, body: Wire, answer: type[T]) -> T:
        path = f"/v1/attempts/{segment(attempt_id)}/{what}"
        # Not mode="json", which would turn NaN into null without a word.
        return self._post(path, answer, body.model_dump(), headers=_lease(lease), idempotent=True)


def _lease(token: str) -> dict[str, str]:
    return {"Layerprune-Lease": token}
