"""Latencies that other tools measured: kept beside our own, never verified, never ranked."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .wire import Digest, Wire

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]


class NewExternal(Wire):
    """A file of another tool that was stored with PUT, and what it is about."""

    digest: Digest
    format: str | None = Field(default=None, max_length=40, description="found out if left out")
    device: Name = Field(description="where it was measured, in your words")
    model: Name = Field(description="what was measured, in your words")
    precision: Annotated[str, Field(max_length=20)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=65536)] | None = None
    note: Annotated[str, Field(max_length=500)] = ""


class ExternalRow(Wire):
    """What another tool says it measured."""

    id: str
    device: str
    model: str
    precision: str | None
    batch_size: int | None
    note: str
    tool: str
    format: str
    p50_ns: int
    p90_ns: int | None = Field(description="as the tool says, or the nearest rank of its times")
    p99_ns: int | None
    n_samples: int | None
    details: dict[str, str | int | float] = Field(description="what else the tool said")
    file: Digest
    imported_at: int = Field(description="microseconds UTC")


class ExternalList(Wire):
    rows: list[ExternalRow]
