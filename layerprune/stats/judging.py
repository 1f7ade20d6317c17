"""What a ratio amounts to: whether two latencies differ, and what is doubtful about the estimate."""

from __future__ import annotations

import math
from typing import Literal

from layerprune.samples import SampleSet

from .ratios import RatioEstimate, ratio
from .student import student_tail, t95

TARGET_HALF_WIDTH = 0.01
"""Measuring goes on, where its budget allows, until the log ratio's interval is at most this wide to either side."""
MAX_HALF_WIDTH = 0.02
"""`ci_not_met`: the interval of the log ratio to the base is wider than this to either side."""
AA_SIGNIFICANT = 0.01
AA_ALWAYS = 0.03
"""`aa_off`: |log ratio| of the base to itself is above the first and its interval excludes 1, or above the second."""
DECIDED_BY: Literal["median", "low"] = "low"
"""Which ratio decides "different": that of 10th percentiles. Noise of a shared machine only adds time, so that they err
less when nothing differs; docs/measurement.md has the figures."""


def p_value(estimate: RatioEstimate) -> float:
    """Return how likely a ratio at least this far from 1 is if nothing differs, two-sided, by the ratio that decides.

    At most 0.05 exactly where that ratio's interval excludes 1.
    """
    centre, half = _deciding(estimate)
    if half == 0:
        return 1.0 if centre == 0 else 0.0
    return student_tail(centre / half * t95(estimate.df), estimate.df)


def is_different(estimate: RatioEstimate, *, noise_floor: float = 0.0, level: float = 0.05) -> bool:
    """Say whether two latencies differ: certainly enough, and by more than the device's noise.

    `noise_floor` is a |log ratio|; `level` is below 0.05 where several comparisons share the risk of a false one. Where
    medians and 10th percentiles point in opposite directions nothing differs: no word would fit the number beside it.
    """
    effect = _deciding(estimate)[0]
    agree = effect * math.log(estimate.value) >= 0
    return agree and p_value(estimate) <= level and abs(effect) > noise_floor


def deciding_ratio(estimate: RatioEstimate) -> float:
    """Return the ratio that decides whether two latencies differ."""
    return math.exp(_deciding(estimate)[0])


def sample_flags(variant: SampleSet, base: SampleSet, aa: SampleSet, *, seed: int) -> list[str]:
    """Derive the flags that follow from the samples of a session, its base and the A/A control of the same group."""
    return ratio_flags(ratio(variant, base, seed=seed), ratio(aa, base, seed=seed))


def ratio_flags(own: RatioEstimate, control: RatioEstimate) -> list[str]:
    """Derive the flags from a session's ratio to the base and from that of the A/A control of the same group."""
    drift = abs(math.log(control.value))
    flags = []
    if own.half_width > MAX_HALF_WIDTH:
        flags.append("ci_not_met")
    if drift > AA_ALWAYS or (drift > AA_SIGNIFICANT and not control.ci_low <= 1 <= control.ci_high):
        flags.append("aa_off")
    if own.processes == 1:
        flags.append("single_process")
    return flags


def _deciding(estimate: RatioEstimate) -> tuple[float, float]:
    """Logarithm of the ratio that decides, and half the width of its interval."""
    if DECIDED_BY == "low" and estimate.low_half_width is not None:
        return math.log(estimate.low_value), estimate.low_half_width
    return math.log(estimate.value), estimate.half_width
