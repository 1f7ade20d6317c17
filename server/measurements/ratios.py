"""A stored row's ratio to the base of its group, as it was recomputed from the samples."""

from __future__ import annotations

from dataclasses import replace

from layerprune.stats import RatioEstimate
from server.models import Measurement


def estimate(row: Measurement) -> RatioEstimate:
    """Return the ratio with its intervals; exactly 1 for the base itself."""
    if row.ratio is None or row.ratio_low is None or row.ratio_high is None:
        return RatioEstimate(1.0, 1.0, 1.0, 1.0, row.processes)
    found = RatioEstimate(
        value=row.ratio,
        ci_low=row.ratio_low,
        ci_high=row.ratio_high,
        low_value=row.low_ratio or row.ratio,
        processes=row.processes,
        low_ci_low=row.low_ratio_low,
        low_ci_high=row.low_ratio_high,
    )
    return found if row.ratio_df is None else replace(found, df=row.ratio_df)
