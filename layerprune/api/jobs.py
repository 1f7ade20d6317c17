"""A pruning request, and what the server says about it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .dataset import DatasetSpec
from .network import ModelSpec, RivalSpec
from .pruning import PruningSpec
from .training import TrainingSpec
from .wire import Count, Wire

Budget = Literal["quick", "standard", "thorough"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
TaskKind = Literal["score", "sweep", "search", "trial", "build", "measure"]
TaskState = Literal["queued", "leased", "done", "failed", "cancelled"]
Reason = Literal[
    "worker_lost",
    "lease_expired",
    "given_back",
    "cancelled",
    "build_failed",
    "parse_rejected",
    "oom",
    "timeout",
    "output_mismatch",
    "crashed",
    "unstable",
    "infra",
    "weights_mismatch",
    "untraceable",
    "target_unreachable",
    "tensorrt_refuses",
    "diverged",
    "disk_full",
    "no_capable_worker",
    "bad_input",
    "poison",
]
RETRIED: tuple[Reason, ...] = ("worker_lost", "lease_expired", "given_back", "infra")


class MeasureSpec(Wire):
    devices: list[str] = Field(
        default=[],
        description="names of devices; default: every device with a live worker",
    )
    batch_sizes: list[Annotated[int, Field(ge=1, le=1024)]] = Field(default=[1], min_length=1)
    threads: list[Annotated[int, Field(ge=1, le=256)]] = Field(default=[1], min_length=1)
    precisions: list[str] = Field(default=["fp32"], min_length=1)
    backend: str = Field(default="onnxruntime", description="the runtime, if there is only one")
    backends: list[str] = Field(
        default=[], max_length=8, description="several runtimes of the devices, each measured; overrides 'backend'"
    )
    settings: dict[str, dict[str, bool | int | str]] = Field(
        default={},
        description="backend -> its settings that change latency, such as {'tensorrt': {'cuda_graph': true}}",
    )
    budget: Budget = "quick"

    def backend_list(self) -> list[str]:
        """Every runtime that is measured."""
        return self.backends or [self.backend]


class JobRequest(Wire):
    """What to prune, how, and where to measure it; everything but model and dataset has a default."""

    model: ModelSpec
    dataset: DatasetSpec
    rivals: list[RivalSpec] = Field(
        default=[], max_length=16, description="networks made small by hand, to compare with"
    )
    pruning: PruningSpec = PruningSpec()
    training: TrainingSpec = TrainingSpec()
    measure: MeasureSpec = MeasureSpec()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class Estimate(Wire):
    """What the job will cost, as far as can be told beforehand."""

    trainings: int = Field(description="at most this many fine-tunings, besides the base")
    minutes: float
    basis: str = Field(description="where the estimate comes from")


class Progress(Wire):
    """What a task is doing now."""

    phase: str = ""
    message: str = ""
    fraction: Annotated[float, Field(ge=0, le=1)] | None = None
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    seconds_left: float | None = None


class AttemptView(Wire):
    id: str
    attempt_no: int
    state: str
    worker: str | None
    started_at: int
    finished_at: int | None
    reason: Reason | None = None
    message: str | None = None


class TaskView(Wire):
    id: str
    kind: TaskKind
    title: str
    state: TaskState
    waiting_for: str | None = None
    reason: Reason | None = None
    message: str | None = None
    device: str | None = None
    repeats: str | None = Field(default=None, description="the measuring task that came out doubtful and is repeated")
    progress: Progress | None = None
    attempts: list[AttemptView] = []


class JobView(Wire):
    """A job as the outside sees it; times are microseconds UTC."""

    id: str
    state: JobState
    reason: Reason | None = None
    message: str | None = None
    request: JobRequest
    estimate: Estimate
    created_at: int
    finished_at: int | None = None
    progress: float = Field(ge=0, le=1)
    seconds_left: float | None = None
    waiting_for: str | None = None
    tasks: list[TaskView] = []
    notes: list[str] = Field(
        default=[],
        description="what was left out and why: unreachable targets, failed builds",
    )
    seconds: dict[str, float] = Field(default={}, description="where the time went, by phase")


class JobList(Wire):
    jobs: list[JobView]
    next_cursor: str | None = None


class EventView(Wire):
    """One step in a job's history; the sequence number lets a stream resume where it broke."""

    seq: Count
    at: int
    task: str | None = None
    kind: str
    data: dict[str, Any] = {}


class EventList(Wire):
    events: list[EventView]
    next_after: Count
