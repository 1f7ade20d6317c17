"""A pruning request, and what the server says about it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from .wire import Count, Wire

Method = Literal["layer", "filter"]
Family = Literal["base", "layer", "filter", "filter_aligned"]
"""What a variant is compared as; aligned filters are a family of their own because the kernels' block size decides
whether filter pruning pays (docs/pruning.md)."""
Budget = Literal["quick", "standard", "thorough"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
TaskKind = Literal["score", "sweep", "build", "measure"]
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


class Preprocess(Wire):
    """How an image becomes the network's input; stored with every variant and applied outside the timed region."""

    size: Annotated[int, Field(ge=8, le=1024)]
    channels: Literal[1, 3] = 3
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]
    classes: list[str] = []
    layout: Literal["NCHW"] = "NCHW"


class ModelSpec(Wire):
    """The network to prune, by name; trained from scratch when it has no weights."""

    name: str = Field(examples=["cifar:resnet20"])
    args: dict[str, int | float | str | bool] = {}
    preprocess: Preprocess | None = None
    expected_accuracy: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="stop before scoring if the base is more than 0.5 point away from this",
    )


class DatasetSpec(Wire):
    name: str = Field(examples=["digits"])


class Target(Wire):
    """One latency budget: milliseconds, or a ratio of the base's latency on that device."""

    device: str | None = Field(default=None, description="this device only; all devices of the job if left out")
    precision: str | None = None
    batch_size: int | None = None
    statistic: Literal["p50", "p99"] = "p50"
    latency_ms: Annotated[float, Field(gt=0)] | None = None
    ratio: float | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Target:
        if (self.latency_ms is None) == (self.ratio is None):
            raise ValueError("give exactly one of latency_ms and ratio")
        if self.ratio is not None and not 0 < self.ratio < 1:
            raise ValueError(
                f"a target ratio must lie between 0 and 1, this is {self.ratio}: at 1 or above nothing is to be pruned"
            )
        return self


class TargetLists(Wire):
    """The short form: the same budgets for every device of the job."""

    latency_ratios: list[float] = []
    latency_ms: list[float] = []


def _form(targets: object) -> str:
    return "list-of-targets" if isinstance(targets, list) else "short-form"


TARGET_FORMS = ("short-form", "list-of-targets")
"""The tags by which pydantic tells the two forms apart; it puts them into the places of its errors."""
AnyTargets = Annotated[
    Annotated[TargetLists, Tag(TARGET_FORMS[0])] | Annotated[list[Target], Tag(TARGET_FORMS[1])], Discriminator(_form)
]


class FilterOptions(Wire):
    """How filters may be cut."""

    alignments: list[Annotated[int, Field(ge=1, le=256)]] = Field(
        default=[1, 8, 16],
        min_length=1,
        description="kept channels are multiples of this; 1 is unaligned",
    )
    scopes: list[Literal["uniform", "global"]] = Field(default=["uniform"], min_length=1)
    min_channels: Annotated[int, Field(ge=1)] = Field(default=4, description="no layer keeps fewer channels than this")


class PruningSpec(Wire):
    methods: list[Method] = Field(default=["layer", "filter"], min_length=1)
    criteria: list[str] = Field(default=["weight_l1", "imprinting", "random"], min_length=1)
    targets: AnyTargets | None = Field(default=None, description="latency budgets; default: ratios 0.8, 0.65 and 0.5")
    amounts: list[Annotated[float, Field(gt=0, lt=1)]] | None = Field(
        default=None,
        description="instead of targets: fractions of the base's MACs to remove; nothing is swept",
    )
    filters: FilterOptions = FilterOptions()
    max_trainings: Annotated[int, Field(ge=1, le=10_000)] | None = None

    @model_validator(mode="after")
    def _targets_or_amounts(self) -> PruningSpec:
        if self.amounts and self.targets:
            raise ValueError("give either targets or amounts, not both")
        return self

    def target_list(self) -> list[Target]:
        """Every budget in the long form; empty when the job names amounts."""
        if self.amounts:
            return []
        if isinstance(self.targets, list):
            return self.targets
        lists = self.targets or TargetLists(latency_ratios=[0.8, 0.65, 0.5])
        return [Target(ratio=r) for r in lists.latency_ratios] + [Target(latency_ms=ms) for ms in lists.latency_ms]


class TrainingSpec(Wire):
    """One recipe for every variant of the job, whatever its family."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = Field(default=5, description="fine-tuning epochs per variant")
    base_epochs: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="epochs for the base when it is trained from scratch; default by data set",
    )
    seeds: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(default=[0], min_length=1, max_length=32)
    batch_size: Annotated[int, Field(ge=2, le=4096)] = 64
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.05
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 5e-4
    distillation: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5,
        description="weight of the unpruned network's soft labels in the loss",
    )


class MeasureSpec(Wire):
    devices: list[str] = Field(
        default=[],
        description="names of devices; default: every device with a live worker",
    )
    batch_sizes: list[Annotated[int, Field(ge=1, le=1024)]] = Field(default=[1], min_length=1)
    threads: list[Annotated[int, Field(ge=1, le=256)]] = Field(default=[1], min_length=1)
    precisions: list[str] = Field(default=["fp32"], min_length=1)
    backend: str = "onnxruntime"
    budget: Budget = "quick"


class JobRequest(Wire):
    """What to prune, how, and where to measure it; everything but model and dataset has a default."""

    model: ModelSpec
    dataset: DatasetSpec
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
