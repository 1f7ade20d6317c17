"""Raw samples in the store, and their ratios, which are worth keeping: content under a digest never changes."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from layerprune.api.errors import BadInput
from layerprune.samples import SampleSet, decode
from layerprune.stats import RatioEstimate, ratio

MAX_SAMPLES_BYTES = 64 * 2**20


def load(path: Path) -> SampleSet:
    """Read one session's samples; raises BadInput for a file that is too large or no samples."""
    size = path.stat().st_size
    if size > MAX_SAMPLES_BYTES:
        raise BadInput(
            f"samples take {size} bytes, the limit is {MAX_SAMPLES_BYTES}",
            field="samples",
            value=size,
            remedy="Send fewer samples per session.",
        )
    return decode(path.read_bytes())


@lru_cache(maxsize=8192)
def ratio_of(variant: Path, base: Path, *, seed: int) -> RatioEstimate:
    """Compare two sessions that were timed interleaved; the same files always give the same numbers."""
    return ratio(load(variant), load(base), seed=seed)
