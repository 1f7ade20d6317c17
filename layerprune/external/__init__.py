"""Read what other tools measured: files that nobody vouches for, so every number in them is checked and bounded.

A format is one file that offers `recognises` and `read`, and one row of FORMATS. Nothing here is ever ranked.
"""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from layerprune.api.errors import BadInput, UnknownName

from .reading import MAX_BYTES, Foreign, decoded

FORMATS = {
    "trtexec": "trtexec_log",
    "trtexec-times": "trtexec_times",
    "onnxruntime": "perf_test",
    "onnxruntime-profile": "perf_profile",
    "ai-hub": "ai_hub",
}
"""What trtexec prints and exports, what onnxruntime_perf_test writes with and without -p, AI Hub's JSON."""


class Format(Protocol):
    """A file format of another tool."""

    def recognises(self, text: str) -> bool:
        """Say from a glance whether the text may be of this format."""

    def read(self, text: str) -> Foreign:
        """Return what was measured; raises BadInput saying what is not as the tool writes it."""


def read_foreign(content: bytes, *, name: str | None = None) -> tuple[str, Foreign]:
    """Return the format and what was measured; the format is found out unless it is named. Raises BadInput."""
    if name is not None and name not in FORMATS:
        raise UnknownName("format", name, FORMATS, field="format")
    if len(content) > MAX_BYTES:
        raise BadInput(
            f"the file has {len(content)} bytes, {MAX_BYTES} are accepted",
            field="file",
            value=len(content),
            remedy="Measure for a shorter time, or give the tool's summary instead of every single time.",
        )
    text = decoded(content)
    if name is not None:
        return name, _format(name).read(text)
    for known in FORMATS:
        if _format(known).recognises(text):
            return known, _format(known).read(text)
    raise BadInput(
        "the file is of none of the known formats",
        field="file",
        value=text[:80],
        remedy=f"Give --format with one of {', '.join(FORMATS)}; the message then says what is missing.",
    )


def _format(name: str) -> Format:
    return cast(Format, importlib.import_module(f".{FORMATS[name]}", __package__))
