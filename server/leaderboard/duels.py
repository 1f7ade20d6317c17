"""Two contenders at one target: is one more accurate at equal measured latency, or faster and no less accurate?"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from layerprune.flags import doubts
from layerprune.stats import (
    RISK,
    Z95,
    RatioEstimate,
    deciding_ratio,
    holm,
    is_different,
    mean_gap,
    p_value,
    ratio_of_ratios,
    student_tail,
    t95,
)

from .contenders import Entrant, Run
from .envelope import Front, Stand, alone

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

    @property
    def p_value(self) -> float:
        """How likely a difference at least this large is if there is none; at most 0.05 where the interval excludes 0.

        With several seeds all of the interval counts as Student's, which is on the safe side.
        """
        steps = (self.low + self.high) / (self.high - self.low)
        if self.seeds == 1:
            return math.erfc(abs(steps) * Z95 / math.sqrt(2))
        df = 2 * (self.seeds - 1)
        return student_tail(steps * t95(df), df)


@dataclass(frozen=True)
class Duel:
    """What the numbers say; `doubts` are flags on either latency, which keep it from being ranked.

    `faster` and `better` (in accuracy) name a side only if the whole interval is on that side, for `faster` also beyond
    the device's noise, and if that is shown among all `among` comparisons that are made together (see `hold`).
    """

    difference: Difference
    latency: RatioEstimate
    equally_fast: bool
    doubts: tuple[str, ...]
    faster: Side | None
    better: Side | None
    verdict: Verdict
    pair: tuple[str, str]
    among: int = 1


@dataclass(frozen=True)
class EqualLatency:
    """Two families at one latency, each by a plan there or between two of its plans."""

    ratio: float
    first: Stand
    second: Stand
    difference: Difference
    verdict: Side | Literal["tied"]
    among: int = 1

    @property
    def is_interpolated(self) -> bool:
        return self.first.is_interpolated or self.second.is_interpolated


def fight(first: Entrant, second: Entrant, direct: DirectRatio, *, least_effect: float = 0.0) -> Duel:
    """Compare two contenders; the verdict claims no more than the intervals allow.

    Latencies that differ by no more than `least_effect`, a |log ratio|, are not shown to differ.

    At equal latency the more accurate one wins. Of two that are shown to differ in latency the faster one wins if it is
    the more accurate one too; if no difference in accuracy is shown, it is the faster one and no more is said; if it is
    the less accurate one, that is a trade-off and they are not comparable.
    """
    difference = accuracy_difference(first, second)
    a, b = first.typical, second.typical
    latency = direct(a, b) or ratio_of_ratios(a.ratio, b.ratio)
    equally_fast = EQUALLY_FAST[0] <= latency.ci_low and latency.ci_high <= EQUALLY_FAST[1]
    doubtful = doubts([*a.flags, *b.flags])
    better = _side(difference.low > 0, difference.high < 0)
    differs = not equally_fast and is_different(latency, noise_floor=least_effect)
    faster = _side(differs and deciding_ratio(latency) < 1, differs)
    verdict = "not_comparable" if doubtful else _verdict(better, faster, equally_fast=equally_fast)
    pair = first.plan_hash, second.plan_hash
    return Duel(difference, latency, equally_fast, doubtful, faster, better, verdict, pair)


def hold(fought: Sequence[tuple[Duel, EqualLatency | None]]) -> list[tuple[Duel, EqualLatency | None]]:
    """Take back what is not shown among so many comparisons: the risk of one false difference in all is held at 5 %.

    By Holm's procedure over every different comparison that is made here, of accuracies and of latencies. Intervals
    stay as they are. Duels that a flag keeps from any claim do not count.
    """
    p_values: dict[Hashable, float] = {}
    for duel, equal in fought:
        if not duel.doubts:
            p_values[_accuracies(duel)] = duel.difference.p_value
            if not duel.equally_fast:
                p_values["latency", duel.pair] = p_value(duel.latency)
        if equal is not None:
            p_values[_stands(equal)] = equal.difference.p_value
    shown = {key for key, p in zip(p_values, holm(list(p_values.values())), strict=True) if p <= RISK}
    return [_held(duel, equal, shown, len(p_values)) for duel, equal in fought]


def _held(duel: Duel, equal: EqualLatency | None, shown: set[Hashable], among: int) -> tuple[Duel, EqualLatency | None]:
    if not duel.doubts:
        better = duel.better if _accuracies(duel) in shown else None
        faster = duel.faster if ("latency", duel.pair) in shown else None
        verdict = _verdict(better, faster, equally_fast=duel.equally_fast)
        duel = replace(duel, better=better, faster=faster, verdict=verdict, among=among)
    if equal is not None:
        equal = replace(equal, verdict=equal.verdict if _stands(equal) in shown else "tied", among=among)
    return duel, equal


def _accuracies(duel: Duel) -> Hashable:
    return tuple(((plan, 1.0),) for plan in duel.pair)


def _stands(equal: EqualLatency) -> Hashable:
    """The same for two plans by themselves as for their duel, so that one comparison counts once."""
    return tuple(tuple((entrant.plan_hash, share) for entrant, share in s.parts) for s in (equal.first, equal.second))


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
    """Compare two plans' test accuracies image by image, over the seeds that both have."""
    return _difference(alone(first), alone(second), of_latency=0.0)


def at_equal_latency(first: Entrant, second: Entrant, duel: Duel, fronts: tuple[Front, Front]) -> EqualLatency | None:
    """Compare the families of two contenders at one latency; None if either latency is in doubt or none is common.

    Contenders that are equally fast are compared as they are. Otherwise the slower one stays, and the faster one's
    front is taken at its latency; if that ends before, the faster one stays and the slower one's front is taken there.
    """
    if duel.doubts:
        return None
    if duel.equally_fast:
        ratio = math.sqrt(first.typical.ratio.value * second.typical.ratio.value)
        return _equal(ratio, alone(first), alone(second), of_latency=0.0)
    contenders = (first, second)
    for stays in sorted((0, 1), key=lambda side: -contenders[side].typical.ratio.value):
        kept = contenders[stays]
        other = fronts[1 - stays].at(kept.typical.ratio.value)
        if other is not None:
            error = _latency_error(other, kept.typical.ratio.half_width)
            pair = (alone(kept), other) if stays == 0 else (other, alone(kept))
            return _equal(kept.typical.ratio.value, *pair, of_latency=error)
    return None


def at_ratio(ratio: float, fronts: tuple[Front, Front]) -> EqualLatency | None:
    """Compare two fronts at a latency; None where one of them has no plans on both sides of it."""
    first, second = (front.at(ratio) for front in fronts)
    if first is None or second is None:
        return None
    error = math.hypot(_latency_error(first, 0.0), _latency_error(second, 0.0))
    return _equal(ratio, first, second, of_latency=error)


def _equal(ratio: float, first: Stand, second: Stand, *, of_latency: float) -> EqualLatency:
    difference = _difference(first, second, of_latency=of_latency)
    return EqualLatency(ratio, first, second, difference, _side(difference.low > 0, difference.high < 0) or "tied")


def _latency_error(stand: Stand, at_half_width: float) -> float:
    """How far off a mixture's accuracy may be because latencies are: the slope times their intervals in quadrature.

    `at_half_width` is the relative half width of the interval of the latency for which it stands.
    """
    if not stand.is_interpolated:
        return 0.0
    (fast, share), (slow, other_share) = stand.parts
    a, b = fast.typical.ratio, slow.typical.ratio
    slope = (_test_accuracy(slow) - _test_accuracy(fast)) / (b.value - a.value)
    widths = (share * a.value * a.half_width, other_share * b.value * b.half_width, stand.ratio * at_half_width)
    return abs(slope) * math.hypot(*widths)


def _test_accuracy(entrant: Entrant) -> float:
    return float(np.mean([run.outcomes.mean() for run in entrant.runs]))


def _difference(first: Stand, second: Stand, *, of_latency: float) -> Difference:
    seeds: Sequence[int | None] = _common_seeds([entrant for entrant, _ in (*first.parts, *second.parts)]) or [None]
    ours, theirs = (np.stack([_outcomes(stand, seed) for seed in seeds]) for stand in (first, second))
    value, low, high = mean_gap(ours, theirs)
    return Difference(
        value,
        max(-1.0, value - math.hypot(value - low, of_latency)),
        min(1.0, value + math.hypot(high - value, of_latency)),
        *ours.shape,
    )


def _common_seeds(entrants: Sequence[Entrant]) -> list[int]:
    """The training seeds that all have; the base, which was trained once, goes with every seed."""
    trained = [{run.seed for run in entrant.runs} for entrant in entrants if entrant.family != "base"]
    return sorted(set.intersection(*trained)) if trained else []


def _outcomes(stand: Stand, seed: int | None) -> NDArray[np.float64]:
    """Expected truth value per image; of the typical run where no seed is common."""
    total = np.zeros(len(stand.parts[0][0].typical.outcomes))
    for entrant, share in stand.parts:
        run = next((run for run in entrant.runs if run.seed == seed), entrant.typical)
        total += share * run.outcomes
    return total
