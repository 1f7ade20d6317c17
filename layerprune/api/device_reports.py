"""What `layerprune device check` found on a piece of hardware, and what that proves.

A report holds, per runtime of the machine, three bundled networks: whether their outputs agree with stored references,
and the samples of each network timed against itself. Whoever receives it derives every number from the samples again
(`layerprune.proof`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from .wire import Count, Nanoseconds, Ratio, Wire

FORMAT = "lp-device-report-1"
NETWORKS = ("residual", "separable", "attention")
"""The bundled networks; a runtime is proven by all of them or not at all."""

Line = Annotated[str, StringConstraints(max_length=300)]
Text = Annotated[str, StringConstraints(max_length=4000)]
Encoded = Annotated[str, StringConstraints(max_length=1 << 20, pattern=r"^[A-Za-z0-9+/]+=*$")]


class Failure(Wire):
    """Why something could not be checked, and what to do about it."""

    code: Line
    message: Text
    remedy: Text = ""


class Trtexec(Wire):
    """The same network on the same device by NVIDIA's own tool, with its flags pinned; the device's computing time."""

    version: Line
    flags: list[Line] = Field(max_length=40)
    p50_ns: Nanoseconds
    ours_p50_ns: Nanoseconds


class NetworkTiming(Wire):
    """One network, loaded twice and timed against itself; the very session that was timed gave the outputs."""

    max_relative_difference: float = Field(ge=0, description="to the reference, of its largest output")
    agrees: bool
    correct: Count
    n: Annotated[int, Field(ge=1, le=1 << 20)]
    p50_ns: Nanoseconds
    aa: Ratio = Field(description="the network's latency as a multiple of its own")
    samples: Encoded = Field(description="base64 of lp-samples-1")
    aa_samples: Encoded
    flags: list[Line] = Field(default=[], max_length=64, description="of layerprune.flags, raised while it was timed")
    facts: dict[str, Any] = Field(default={}, description="what came out at loading, such as build_ms; as reported")


class NetworkCheck(Wire):
    """What became of one network: a timing, or why there is none."""

    network: Literal["residual", "separable", "attention"]
    timing: NetworkTiming | None = None
    failure: Failure | None = None
    repeated: bool = Field(default=False, description="timed again, because the first A/A was off")
    trtexec: Trtexec | None = None
    trtexec_failure: Failure | None = None
    seconds: float = Field(ge=0)


class BackendCheck(Wire):
    """One runtime on this machine, at batch 1, one thread and fp32."""

    backend: Line
    version: Line
    device_model: Line
    conditions: dict[str, Any] = Field(default={}, description="as in a measurement; empty if nothing was timed")
    networks: list[NetworkCheck] = Field(max_length=len(NETWORKS))
    notes: list[Text] = Field(default=[], max_length=20)


class SensorCheck(Wire):
    """One sensor of the machine: what it says is fixed, and what it read."""

    name: Line
    policy: dict[str, Any] = {}
    values: dict[str, Any] = {}
    flags: list[Line] = Field(default=[], max_length=64)
    problem: Text | None = None


class EnergyCheck(Wire):
    """The machine's energy meter over about a second in which nothing was run."""

    source: Line
    millijoules: float = Field(ge=0)
    seconds: float = Field(gt=0)
    samples: Count


class DeviceReport(Wire):
    """Everything that one `layerprune device check` found."""

    format: Literal["lp-device-report-1"] = "lp-device-report-1"
    layerprune: Line = Field(description="version that made it")
    made_at: Annotated[int, Field(ge=0, description="microseconds UTC")]
    seconds: float = Field(ge=0)
    kind: Line = Field(default="cpu", description="cpu, gpu or jetson")
    facts: dict[str, Any]
    python: Line = Field(description="of the measuring process")
    backends: list[BackendCheck] = Field(min_length=1, max_length=16)
    sensors: list[SensorCheck] = Field(default=[], max_length=64)
    energy: EnergyCheck | None = None


class Problem(Wire):
    """Something that keeps a runtime from being proven."""

    where: str
    message: str
    remedy: str


class ProofView(Wire):
    """A class of devices, and whether a report proves it: model, runtime and the first two numbers of its version."""

    device_model: str
    backend: str
    version: str
    passed: bool
    problems: list[Problem] = []


class ReportView(Wire):
    """A report as the server keeps it; `report` is left out of lists."""

    id: str
    device: str
    made_at: int
    received_at: int
    layerprune: str
    proofs: list[ProofView]
    ranked_rows: int | None = Field(default=None, description="rows that this report has let onto the leaderboard")
    report: DeviceReport | None = None


class Unranked(Wire):
    """Measured rows that are on no leaderboard until a report proves the class of their device."""

    device: str
    backend: str
    device_model: str
    version: str
    rows: int
    message: str
    remedy: str
