"""Where a page ends: an opaque text that only fits the query it came from."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import asdict

from layerprune.api.errors import BadInput
from server.measurements.conditions import canonical

from .repository import Filters, Position


def encode(position: Position, filters: Filters) -> str:
    """Write the position after which the next page begins."""
    return base64.urlsafe_b64encode(json.dumps([*position, _fingerprint(filters)]).encode()).decode()


def decode(text: str, filters: Filters) -> Position:
    """Read a position; raises BadInput for anything that `encode` did not write for these filters."""
    try:
        p50_ns, row_id, fingerprint = json.loads(base64.b64decode(text.encode(), b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError):
        raise _refused(text, "is not one of this list") from None
    if type(p50_ns) is not int or type(row_id) is not int or max(p50_ns, row_id) > 2**62:
        raise _refused(text, "is not one of this list")
    if fingerprint != _fingerprint(filters):
        raise _refused(text, "belongs to a query with other filters")
    return p50_ns, row_id


def _fingerprint(filters: Filters) -> str:
    return hashlib.sha256(canonical(asdict(filters)).encode()).hexdigest()[:16]


def _refused(text: str, why: str) -> BadInput:
    return BadInput(
        f"the cursor {why}",
        field="cursor",
        value=text[:80],
        remedy="Use next_cursor of the page before with the same filters, or none for the first page.",
    )
