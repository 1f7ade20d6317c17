"""What the comparison found, as the wire says it."""

from __future__ import annotations

from layerprune.api.comparison import (
    AccuracyLevel,
    AtEqualLatency,
    Contender,
    Crossover,
    FrontDuel,
    Interval,
    Part,
)
from layerprune.api.comparison import Duel as DuelView
from layerprune.api.wire import Proportion, Ratio
from layerprune.stats import RatioEstimate

from . import sentences
from .contenders import Entrant
from .duels import Duel, EqualLatency
from .envelope import Stand
from .fronts import Course
from .resampling import Estimate
from .service import accuracy


def contender(entrant: Entrant, tries: int) -> Contender:
    """Latency from the typical run; accuracies are of all seeds together."""
    typical, several = entrant.typical, len(entrant.runs) > 1
    return Contender(
        variant=typical.variant,
        label=entrant.label + (f" ({len(entrant.runs)} seeds)" if several else ""),
        family=entrant.family,
        criteria=list(entrant.criteria),
        ratio=ratio(typical.ratio),
        p50_ns=typical.p50_ns,
        accuracy=accuracy(
            sum(int(run.outcomes.sum()) for run in entrant.runs), sum(len(run.outcomes) for run in entrant.runs)
        ),
        validation=Proportion(
            correct=sum(run.validation_correct for run in entrant.runs), n=sum(run.validation_n for run in entrant.runs)
        ),
        tries=tries,
    )


def duel(first: tuple[Entrant, int], second: tuple[Entrant, int], found: Duel, equal: EqualLatency | None) -> DuelView:
    """Give two contenders, each with its number of tries, and what came of them."""
    return DuelView(
        first=contender(*first),
        second=contender(*second),
        accuracy_difference=found.difference.value,
        ci_low=found.difference.low,
        ci_high=found.difference.high,
        latency_ratio=ratio(found.latency),
        equally_fast=found.equally_fast,
        verdict=found.verdict,
        doubts=list(found.doubts),
        sentence=sentences.of_duel(first[0], second[0], found),
        at_equal_latency=at_equal_latency(first[0], second[0], equal) if equal else None,
    )


def at_equal_latency(first: Entrant, second: Entrant, found: EqualLatency) -> AtEqualLatency:
    return AtEqualLatency(
        ratio=found.ratio,
        interpolated=found.is_interpolated,
        first=_parts(found.first),
        second=_parts(found.second),
        accuracy_difference=found.difference.value,
        ci_low=found.difference.low,
        ci_high=found.difference.high,
        seeds=found.difference.seeds,
        images=found.difference.images,
        verdict=found.verdict,
        sentence=sentences.of_equal_latency(first, second, found),
    )


def front_duel(found: Course) -> FrontDuel:
    crossing = found.crossing
    return FrontDuel(
        first=found.first,
        second=found.second,
        levels=[
            AccuracyLevel(
                accuracy=level.accuracy,
                first=_ratio_of(level.first),
                second=_ratio_of(level.second),
                latency_ratio=_ratio_of(level.ratio),
            )
            for level in found.levels
        ],
        crossover=crossing
        and Crossover(
            ratio=crossing.ratio,
            ci_low=crossing.low,
            ci_high=crossing.high,
            below=crossing.below,
            above=crossing.above,
        ),
        sentence=sentences.of_course(found),
    )


def interval(found: Estimate) -> Interval:
    return Interval(value=found.value, ci_low=found.low, ci_high=found.high)


def ratio(found: RatioEstimate) -> Ratio:
    return Ratio(value=found.value, ci_low=found.ci_low, ci_high=found.ci_high)


def _ratio_of(found: Estimate) -> Ratio:
    return Ratio(value=found.value, ci_low=found.low, ci_high=found.high)


def _parts(stand: Stand) -> list[Part]:
    return [
        Part(variant=entrant.typical.variant, label=entrant.label, ratio=entrant.typical.ratio.value, share=share)
        for entrant, share in stand.parts
    ]
