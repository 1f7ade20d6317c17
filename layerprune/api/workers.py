"""How a worker registers, claims a task, keeps its lease and reports."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .catalogue import BackendInfo, Catalogue, Role
from .jobs import Progress, Reason, TaskKind
from .wire import PROTOCOL_VERSION, Digest, Wire

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class DeviceSpec(Wire):
    """One piece of hardware, exclusively one worker's at a time."""

    name: Name
    kind: Literal["cpu", "gpu", "jetson"] = "cpu"
    description: str = ""
    facts: dict[str, Any] = Field(default={}, description="processor, cores, memory, operating system: as found")


class DeviceNoise(Wire):
    """What two copies of one network differ by on a device, under one set of conditions."""

    runtime: str
    precision: str
    batch_size: int
    threads: int
    comparable_key: Digest
    controls: int = Field(description="A/A controls that it is taken from, at most the last 30")
    noise_floor: float | None = Field(description="95th percentile of |log ratio|; null: too few controls yet")


class DeviceCanary(Wire):
    """How fast a device runs the one fixed network that every task times, as its worker reported it."""

    runtime: str
    precision: str
    threads: int
    timings: int = Field(description="at most the last 30")
    median_ns: int
    last_ns: int
    is_off: bool = Field(description="the last one lies outside of median and 3 scaled median absolute deviations")


class DeviceView(Wire):
    id: str
    name: str
    kind: str
    description: str
    facts: dict[str, Any]
    online: bool
    busy: bool
    worker: str | None = None
    backends: list[str] = []
    runtimes: list[BackendInfo] = Field(default=[], description="the backends in full, as the worker describes them")
    last_seen_at: int | None = None
    noise: list[DeviceNoise] = []
    canaries: list[DeviceCanary] = []


class DeviceCreated(Wire):
    """A device and the single-use token with which its worker registers; the token is shown this once."""

    device: DeviceView
    registration_token: str
    expires_in_s: int


class WorkerRegistration(Wire):
    """Sent at every start; a restart is a new incarnation, and the old one's leases end at once."""

    name: Name
    roles: list[Role] = Field(min_length=1)
    device: DeviceSpec | None = None
    catalogue: Catalogue = Catalogue()
    incarnation: str = Field(min_length=8, max_length=64)
    protocol_version: int = PROTOCOL_VERSION
    allow_null: bool = False


class WorkerRegistered(Wire):
    worker_id: str
    device_id: str | None = None
    token: str | None = Field(default=None, description="only at the first registration; shown this once")
    heartbeat_s: float
    lease_s: float


class ClaimedTask(Wire):
    """A task with the lease that alone may report on it."""

    task_id: str
    attempt_id: str
    attempt_no: int
    lease_token: str
    kind: TaskKind
    title: str
    payload: dict[str, Any]
    inputs: list[str] = Field(description="digests to download before the start")
    lease_expires_in_s: float
    next_beat_s: float
    deadline_s: float


class Heartbeat(Wire):
    attempt_no: int
    progress: Progress | None = None
    checkpoint: Digest | None = Field(
        default=None, description="the state of a training, uploaded, with which the next attempt could go on"
    )


class Control(Wire):
    """The server's word to a running attempt; times are relative, clocks may differ."""

    cancel: bool
    lease_expires_in_s: float
    next_beat_s: float


class ResultReport(Wire):
    attempt_no: int
    result: dict[str, Any]


class FailureReport(Wire):
    attempt_no: int
    reason: Reason
    message: Annotated[str, Field(max_length=20_000)]


class Accepted(Wire):
    accepted: Literal[True] = True
    state: str
