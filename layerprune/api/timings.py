"""Tasks that measure: what they ask for and what their results say; see `tasks` for the others and for artifacts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .jobs import Budget
from .network import Preprocess
from .wire import Artifact, Count, Nanoseconds, Wire

Part = Literal["device", "enqueue", "to_device", "from_device"]
"""What can be known of one inference besides the time that the host waits for it; see docs/measurement.md."""


class Condition(Wire):
    """What the server asks a device to hold fixed while it measures."""

    backend: str = "onnxruntime"
    precision: str = "fp32"
    batch_size: Annotated[int, Field(ge=1)] = 1
    threads: Annotated[int, Field(ge=1)] = 1
    settings: dict[str, bool | int | str] = Field(
        default={}, description="settings of the backend that change latency, such as {'cuda_graph': true}"
    )
    budget: Budget = "quick"


# --- sweep ---------------------------------------------------------------------------------------------------------


class SweepPayload(Wire):
    """Time untrained architectures against the base (measure role)."""

    condition: Condition
    base: Artifact
    architectures: dict[str, Artifact] = Field(description="architecture hash -> ONNX")
    input_shape: list[int] = Field(description="C, H, W")
    round: Annotated[int, Field(ge=0, le=3)] = Field(
        default=0, description="0: what the score step wrote; later: what that round of the search found"
    )
    seed: int


class PartSamples(Wire):
    """One part of each inference, such as the device's own computing time; one value per sample of the session."""

    samples: Artifact = Field(description="ordered raw samples, see layerprune.samples")
    p50_ns: Nanoseconds


class Throughput(Wire):
    """Images per second in batches of one size, one batch after the other; none if the network refuses the size."""

    batch_size: Annotated[int, Field(ge=1, le=2**20)]
    images_per_s: Annotated[float, Field(gt=0)] | None = None
    refused: Annotated[str, Field(max_length=300)] = ""


class SessionFacts(Wire):
    """What else came out for a session, as the worker reports it; nothing of it can be recomputed.

    Loading, the first inference and memory are medians over processes, in processes whose runtime was up already; the
    rest comes from the first process.
    """

    load_ns: Nanoseconds | None = None
    first_inference_ns: Nanoseconds | None = None
    peak_memory_bytes: Count | None = Field(
        default=None, description="by how much the process grew; memory that sessions share counts to the first of them"
    )
    device_memory_bytes: Count | None = None
    engine_bytes: Count | None = None
    build_ms: Annotated[float, Field(ge=0)] | None = None
    output_finite: bool | None = Field(default=None, description="whether the timed input was answered with numbers")
    throughput: list[Throughput] = Field(default=[], max_length=16)
    energy_mj: Annotated[float, Field(ge=0)] | None = Field(default=None, description="of one inference")
    energy_source: Annotated[str, Field(max_length=200)] | None = None
    other: dict[str, Any] = Field(default={}, max_length=64, description="what the runtime says besides")


class SessionSamples(Wire):
    """What was timed for one session, all processes together."""

    session: str = Field(description="variant id, architecture hash, 'base' or 'aa'")
    samples: Artifact = Field(description="ordered raw samples, see layerprune.samples")
    n_samples: Annotated[int, Field(ge=1)]
    p50_ns: Nanoseconds
    parts: dict[Part, PartSamples] = {}
    facts: SessionFacts = SessionFacts()


class CanaryTiming(Wire):
    """What the fixed small network took in one measuring process, before and after the timed blocks; as reported."""

    start_ns: Nanoseconds
    end_ns: Nanoseconds
    runs: Annotated[int, Field(ge=1, le=10**9)]


class MeasuredGroup(Wire):
    """Sessions that were loaded together and timed interleaved, base and A/A control among them."""

    sessions: list[SessionSamples] = Field(min_length=2)
    flags: list[str] = []
    observed: dict[str, Any] = {}
    canary: list[CanaryTiming] = Field(default=[], max_length=64, description="one per process; none without a canary")


class SweepResult(Wire):
    groups: list[MeasuredGroup]
    conditions: dict[str, Any] = Field(description="the key part: everything that must be equal to compare")
    seconds: dict[str, float] = {}


# --- measure -------------------------------------------------------------------------------------------------------


class MeasureInput(Wire):
    variant: str
    onnx: Artifact
    reference_outputs: Artifact
    macs: Count | None = Field(default=None, description="of one image; what its latency is held against")


class MeasurePayload(Wire):
    """Time the base, the base again (A/A) and the variants; evaluate each timed session (measure role)."""

    condition: Condition
    base: MeasureInput
    variants: list[MeasureInput]
    evaluation_pack: Artifact
    calibration_pack: Artifact | None = Field(
        default=None, description="images of the calibration split, for a runtime that calibrates int8 by itself"
    )
    preprocess: Preprocess
    seed: int


class SessionAccuracy(Wire):
    """Accuracy of the very session that was timed, on the evaluation pack."""

    session: str
    correct: Count
    n: Annotated[int, Field(ge=1)]
    outcomes: str = Field(description="base64, one bit per image in stored order, most significant bit first")
    max_relative_difference: float = Field(ge=0, description="to the builder's reference outputs")
    agrees: bool


class MeasureResult(Wire):
    groups: list[MeasuredGroup]
    accuracies: list[SessionAccuracy]
    conditions: dict[str, Any]
    explanations: dict[str, Artifact] = Field(
        default={}, description="variant -> a layerprune.api.why.Why as JSON, where it is slower than its MACs promise"
    )
    seconds: dict[str, float] = {}
