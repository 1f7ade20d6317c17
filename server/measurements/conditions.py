"""What must be equal for two latencies to be comparable, as canonical JSON and its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from layerprune.api.errors import BadInput
from layerprune.api.tasks import Condition
from server.db import insert_missing
from server.models import Conditions

MAX_KEY_BYTES = 16 * 1024


def canonical(value: Any) -> str:
    """Write JSON in the one way that is hashed: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def merge(reported: Mapping[str, Any], condition: Condition, **known: Any) -> dict[str, Any]:
    """Put what the server asked for and knows beside what the worker reports.

    Raises BadInput if the worker contradicts it: it measured something else than it was asked to.
    """
    asked = condition.model_dump(exclude={"budget"}) | known
    for name, value in asked.items():
        if name in reported and reported[name] != value:
            raise BadInput(
                f"{name} was to be {value!r}, the conditions say {reported[name]!r}",
                field=f"conditions.{name}",
                value=reported[name],
                remedy="Measure under the conditions that the task names.",
            )
    key = {**reported, **asked}
    size = len(canonical(key))
    if size > MAX_KEY_BYTES:
        raise BadInput(
            f"the conditions take {size} bytes, the limit is {MAX_KEY_BYTES}",
            field="conditions",
            value=size,
            remedy="Put what is only observed into 'observed'; the key holds what must be equal.",
        )
    return key


def store(session: Session, key: dict[str, Any]) -> Conditions:
    """Find or make the row of a key."""
    comparable_key = hashlib.sha256(canonical(key).encode()).hexdigest()
    insert_missing(session, Conditions, {"comparable_key": comparable_key, "key": key})
    return session.scalars(select(Conditions).where(Conditions.comparable_key == comparable_key)).one()


def runtime(key: Mapping[str, Any]) -> str:
    """Name the runtime of a key with its version, for people."""
    name = str(key.get("runtime") or key["backend"])
    version = key.get("runtime_version")
    return f"{name} {version}" if version else name
