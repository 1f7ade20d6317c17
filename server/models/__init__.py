"""The tables. Ids are UUIDv7 text in public, BIGINT inside; times are BIGINT microseconds UTC; latencies integer ns."""

from .access import Device, Project, Token, Worker
from .artifacts import Artifact, ArtifactRef, Upload
from .base import Base
from .explanations import Explanation
from .external import External
from .reports import DeviceReport, Proof
from .results import (
    CanaryTiming,
    Candidate,
    Conditions,
    Measurement,
    Scoring,
    Solution,
    SweepPoint,
    TrialScore,
    Variant,
)
from .work import Attempt, Event, Job, JobDevice, OrphanResult, Task

__all__ = [
    "Artifact",
    "ArtifactRef",
    "Attempt",
    "Base",
    "CanaryTiming",
    "Candidate",
    "Conditions",
    "Device",
    "DeviceReport",
    "Event",
    "Explanation",
    "External",
    "Job",
    "JobDevice",
    "Measurement",
    "OrphanResult",
    "Project",
    "Proof",
    "Scoring",
    "Solution",
    "SweepPoint",
    "Task",
    "Token",
    "TrialScore",
    "Upload",
    "Variant",
    "Worker",
]
