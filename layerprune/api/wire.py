"""The base of every wire type: unknown fields, NaN and infinity are refused."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PROTOCOL_VERSION = 1
"""What workers and server speak; a worker with an older one is told to upgrade (HTTP 426)."""

Digest = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the content, in lower-case hex",
    ),
]
Artifact = Annotated[str, Field(min_length=1, max_length=255)]
"""A digest on the wire; a relative path while the result is still in the task's folder (see `tasks`)."""
Nanoseconds = Annotated[int, Field(ge=1, le=10**15)]
Count = Annotated[int, Field(ge=0, le=2**62)]


class Wire(BaseModel):
    """Strict about what comes in: a misspelt field is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Ratio(Wire):
    """A ratio of two latencies with its 95 % interval; below 1 is faster than the base."""

    value: float = Field(gt=0)
    ci_low: float = Field(gt=0)
    ci_high: float = Field(gt=0)


class Proportion(Wire):
    """An accuracy as counts, so that nothing is lost to rounding."""

    correct: Count
    n: Annotated[int, Field(ge=1, le=2**40)]
