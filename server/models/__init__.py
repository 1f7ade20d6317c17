"""The tables. Ids are UUIDv7 text in public, BIGINT inside; times are BIGINT microseconds UTC; latencies integer ns."""

from .access import Device, Project, Token, Worker
from .artifacts import Artifact, ArtifactRef, Upload
from .base import Base
from .results import Candidate, Conditions, Measurement, Scoring, Solution, SweepPoint, TrialScore, Variant
from .work import Attempt, Event, Job, JobDevice, OrphanResult, Task

__all__ = [
    "Artifact",
    "ArtifactRef",
    "Attempt",
    "Base",
    "Candidate",
    "Conditions",
    "Device",
    "Event",
    "Job",
    "JobDevice",
    "Measurement",
    "OrphanResult",
    "Project",
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
