"""What was measured elsewhere, and the strict reading that all formats share."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from layerprune.api.errors import BadInput

MAX_BYTES = 16 * 2**20
MAX_NS = 3_600 * 10**9
"""One inference that takes longer than an hour is not a measurement."""


@dataclass(frozen=True)
class Foreign:
    """What another tool says it measured, in nanoseconds; `details` is what else it said, for show alone."""

    tool: str
    p50_ns: int
    p90_ns: int | None = None
    p99_ns: int | None = None
    n_samples: int | None = None
    details: dict[str, str | int | float] = field(default_factory=dict)


def of_samples(tool: str, samples_ns: Iterable[float], **details: str | int | float) -> Foreign:
    """Summarise single times by their median and the nearest-rank percentiles."""
    values = sorted(in_range(value, "a time") for value in samples_ns)
    if not values:
        refuse("there is not one inference in it", value=0)

    def rank(p: float) -> int:
        return values[math.ceil(p * len(values)) - 1]

    return Foreign(tool, round(statistics.median(values)), rank(0.9), rank(0.99), len(values), details)


def in_range(nanoseconds: float, what: str) -> int:
    """Round to whole nanoseconds; raises BadInput unless it can be the time of an inference."""
    if not (math.isfinite(nanoseconds) and 1 <= nanoseconds <= MAX_NS):
        refuse(f"{what} is {nanoseconds:g} ns, which no inference takes", value=str(nanoseconds))
    return round(nanoseconds)


def number(value: Any, what: str) -> float:
    """Return a number as it is; raises BadInput for anything else, a bool among it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        refuse(f"{what} is {str(value)[:80]!r}, not a number", value=str(value)[:80])
    return float(value) if abs(value) < 1e300 else math.inf


def decoded(content: bytes) -> str:
    """Return the text of a file."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        refuse(f"it is no text: {error}", value=content[:16].hex())


def loaded(text: str) -> Any:
    """Return the JSON of a text; NaN and infinity are refused."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        refuse(f"it is no JSON: {str(error)[:200]}", value=text[:80])


def refuse(why: str, *, value: object) -> NoReturn:
    """Refuse the file."""
    raise BadInput(
        f"cannot read the timings: {why}",
        field="file",
        value=value,
        code="timings_refused",
        remedy="Give the file as the tool wrote it; docs/by-hand.md says which files are read.",
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"numbers must be finite, not {name}")
