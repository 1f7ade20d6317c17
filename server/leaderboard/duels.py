"""Two contenders at one target: is one more accurate at equal measured latency, or faster and no less accurate?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from layerprune.flags import FLAGS
from layerprune.stats import Z95, RatioEstimate, paired_accuracy_difference, ratio_of_ratios, t95

from .contenders import Entrant, Run

EQUALLY_FAST = (0.97, 1.03)
"""Two variants are equally fast if the whole interval of their latency ratio lies in here."""
Verdict = Literal["first", "second", "tied", "first_faster", "second_faster", "not_comparable"]
Side = Literal["first", "second"]
DirectRatio = Callable[[Run, Run], RatioEstimate | None]
"""Compares two runs of one group sample by sample; None if they were not timed together."""


@dataclass(frozen=True)
class Difference:
    """Test accuracy of the first minus that of the second, as fractions, over `seeds` training seeds."""

    value: float
    low: float
    high: float
    seeds: int
    images: int


@dataclass(frozen=True)
class Duel:
    """What the numbers say; `doubts` are flags on either latency, which keep it from being ranked.

    `faster` and `better` (in accuracy) name a side only if the whole interval is on that side.
    """

    difference: Difference
    latency: RatioEstimate
    equally_fast: bool
    doubts: tuple[str, ...]
    faster: Side | None
    better: Side | None
    verdict: Verdict


def fight(first: Entrant, second: Entrant, direct: DirectRatio) -> Duel:
    """Compare two contenders; the verdict claims no more than the intervals allow.

    At equal latency the more accurate one wins. Of two that are shown to differ in latency the faster one wins if it is
    the more accurate one too; if no difference in accuracy is shown, it is the faster one and no more is said; if it is
    the less accurate one, that is a trade-off and they are not comparable.
    """
    difference = accuracy_difference(first, second)
    a, b = first.typical, second.typical
    latency = direct(a, b) or ratio_of_ratios(a.ratio, b.ratio)
    equally_fast = EQUALLY_FAST[0] <= latency.ci_low and latency.ci_high <= EQUALLY_FAST[1]
    doubts = tuple(sorted({flag for run in (a, b) for flag in run.flags if FLAGS[flag].level != "note"}))
    better = _side(difference.low > 0, difference.high < 0)
    faster = None if equally_fast else _side(latency.ci_high < 1, latency.ci_low > 1)
    verdict = "not_comparable" if doubts else _verdict(better, faster, equally_fast=equally_fast)
    return Duel(difference, latency, equally_fast, doubts, faster, better, verdict)


def _side(first: bool, second: bool) -> Side | None:
    return "first" if first else "second" if second else None


def _verdict(better: Side | None, faster: Side | None, *, equally_fast: bool) -> Verdict:
    if equally_fast:
        return better or "tied"
    if faster is None or better not in (None, faster):
        return "not_comparable"
    if better is not None:
        return better
    return "first_faster" if faster == "first" else "second_faster"


def accuracy_difference(first: Entrant, second: Entrant) -> Difference:
    """Compare test accuracies image by image, over the seeds that both have.

    With one seed the interval is that of the images. With several, Student's interval over the seeds and the interval
    of the images (for the outcomes averaged over seeds) are added in quadrature; the spread over seeds holds a part of
    the images' already, so this errs to the wide side.
    """
    ours = {run.seed: run.outcomes for run in first.runs}
    theirs = {run.seed: run.outcomes for run in second.runs}
    seeds = sorted(ours.keys() & theirs.keys())
    if len(seeds) < 2:
        a = ours[seeds[0]] if seeds else first.typical.outcomes
        b = theirs[seeds[0]] if seeds else second.typical.outcomes
        value, low, high = paired_accuracy_difference(a, b)
        return Difference(value, low, high, 1, len(a))
    gaps = np.array([ours[seed].astype(float) - theirs[seed].astype(float) for seed in seeds])
    per_seed, per_image = gaps.mean(axis=1), gaps.mean(axis=0)
    of_seeds = t95(len(seeds) - 1) * float(per_seed.std(ddof=1)) / math.sqrt(len(seeds))
    of_images = Z95 * float(per_image.std(ddof=1)) / math.sqrt(len(per_image))
    value, half = float(per_seed.mean()), math.hypot(of_seeds, of_images)
    return Difference(value, max(-1.0, value - half), min(1.0, value + half), len(seeds), len(per_image))
