"""Tasks that measure: what they ask for and what their results say; see `tasks` for the others and for artifacts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from .jobs import Budget
from .network import Preprocess
from .wire import Artifact, Count, Nanoseconds, Wire


class Condition(Wire):
    """What the server asks a device to hold fixed while it measures."""

    backend: str = "onnxruntime"
    precision: str = "fp32"
    batch_size: Annotated[int, Field(ge=1)] = 1
    threads: Annotated[int, Field(ge=1)] = 1
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


class SessionSamples(Wire):
    """What was timed for one session, all processes together."""

    session: str = Field(description="variant id, architecture hash, 'base' or 'aa'")
    samples: Artifact = Field(description="ordered raw samples, see layerprune.samples")
    n_samples: Annotated[int, Field(ge=1)]
    p50_ns: Nanoseconds


class MeasuredGroup(Wire):
    """Sessions that were loaded together and timed interleaved, base and A/A control among them."""

    sessions: list[SessionSamples] = Field(min_length=2)
    flags: list[str] = []
    observed: dict[str, Any] = {}


class SweepResult(Wire):
    groups: list[MeasuredGroup]
    conditions: dict[str, Any] = Field(description="the key part: everything that must be equal to compare")
    seconds: dict[str, float] = {}


# --- measure -------------------------------------------------------------------------------------------------------


class MeasureInput(Wire):
    variant: str
    onnx: Artifact
    reference_outputs: Artifact


class MeasurePayload(Wire):
    """Time the base, the base again (A/A) and the variants; evaluate each timed session (measure role)."""

    condition: Condition
    base: MeasureInput
    variants: list[MeasureInput]
    evaluation_pack: Artifact
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
    seconds: dict[str, float] = {}
