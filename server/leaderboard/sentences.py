"""The comparison in words that claim no more than the intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from layerprune.api.pruning import Family
from server.jobs.select import FAMILY_NAMES

from .contenders import Entrant
from .duels import Duel, Verdict

_VERDICTS: dict[Verdict, str] = {
    "first": "more accurate and no slower",
    "tied": "tied",
    "second": "less accurate and no faster",
    "first_faster": "faster with no difference in accuracy shown",
    "second_faster": "slower with no difference in accuracy shown",
    "not_comparable": "not comparable",
}


def of_duel(first: Entrant, second: Entrant, duel: Duel) -> str:
    """Say what a duel came to."""
    a, b, difference = _name(first), _name(second), duel.difference
    bounds = f"{_points(difference.low)} to {_points(difference.high)}"
    gap = (
        f"the accuracy of {a} minus that of {b} is {_points(difference.value)} points "
        f"(95 % interval {bounds}, {difference.images} test images)"
    )
    seeds = difference.seeds
    what = "these two trained networks" if seeds == 1 else f"these networks of {seeds} training seeds each"
    latency = f"{duel.latency.value:.3f} (95 % interval {duel.latency.ci_low:.3f} to {duel.latency.ci_high:.3f})"
    if duel.doubts:
        flags = ", ".join(duel.doubts)
        return f"Not comparable: the latency of {what} is in doubt ({flags}); their ratio is {latency}. For them {gap}."
    if duel.equally_fast:
        if duel.better is None:
            return f"Tied: {what} are equally fast, latency ratio {latency}, and {gap}, which may be none."
        winner = a if duel.better == "first" else b
        return f"{_capital(winner)} is more accurate: {what} are equally fast, latency ratio {latency}, and {gap}."
    if duel.faster is None:
        return (
            f"Not comparable: {what} are neither shown to be equally fast within 3 % nor is one shown to be faster, "
            f"the latency ratio is {latency}. For them {gap}."
        )
    quick, by = (a if duel.faster == "first" else b), _lead(duel)
    if duel.better is None:
        return f"{_capital(quick)} is faster by {by}; no difference in accuracy is shown: for {what} {gap}."
    if duel.better == duel.faster:
        return f"{_capital(quick)} is faster and more accurate: faster by {by}, and for {what} {gap}."
    return f"Not comparable: {quick} is faster by {by} but less accurate, a trade-off: for {what} {gap}."


def of_device(device: str, verdicts: Sequence[Verdict], *, seeds: int, doubtful: int) -> str:
    """Sum up a device: layer pruning against the better filter family, over its targets."""
    if not verdicts:
        return f"On {device} there is no target at which both layer and filter pruning have a measured variant."
    counts = Counter(verdicts)
    parts = [f"{text} at {counts[verdict]}" for verdict, text in _VERDICTS.items() if counts[verdict]]
    of_all = f"{len(verdicts)} target{'s' * (len(verdicts) != 1)}"
    summary = f"On {device}, layer pruning against the better filter family: {', '.join(parts)} of {of_all}."
    if doubtful:
        summary += f" {doubtful} measured variants carry flags and were not ranked."
    if seeds < 3:
        summary += (
            f" This speaks of the networks that were trained, with {seeds} training seed{'s' * (seeds != 1)}; "
            "a statement about the methods needs at least 3 seeds."
        )
    return summary


def of_control(family: Family, criterion: str, control: str, verdicts: Sequence[Verdict | Literal["same"]]) -> str:
    """Say whether a criterion does better than the control, at the targets where both have a plan of the family.

    `same` stands for a target where both propose the very same plan; without equal latency or with a flag it is
    undecided, unless one is both faster and more accurate.
    """
    counts = Counter(verdicts)
    won, tied, lost, same = (counts[verdict] for verdict in ("first", "tied", "second", "same"))
    rest = len(verdicts) - won - tied - lost - same
    parts = [f"won {won}, tied {tied}, lost {lost}"]
    parts += [f"the same plan at {same}"] if same else []
    parts += [f"undecided at {rest}"] if rest else []
    of_all = f"of {len(verdicts)} target{'s' * (len(verdicts) != 1)}"
    moral = "" if won > lost else f"; it is not shown to choose better than {control}"
    return f"{_capital(FAMILY_NAMES[family])} by {criterion} against {control}: {', '.join(parts)} {of_all}{moral}."


def _name(entrant: Entrant) -> str:
    return f"{FAMILY_NAMES[entrant.family]} by {' = '.join(entrant.criteria) or entrant.label}"


def _points(fraction: float) -> str:
    return f"{100 * fraction:+.1f}"


def _lead(duel: Duel) -> str:
    """By how much less time the faster one takes than the slower one."""
    ratios = [duel.latency.value, duel.latency.ci_high, duel.latency.ci_low]
    if duel.faster == "second":
        ratios = [1 / duel.latency.value, 1 / duel.latency.ci_low, 1 / duel.latency.ci_high]
    value, low, high = (f"{100 * (1 - ratio):.1f}" for ratio in ratios)
    return f"{value} % (95 % interval {low} to {high} %)"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
