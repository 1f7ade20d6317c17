"""The comparison in words that claim no more than the intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from server.jobs.select import FAMILY_NAMES

from .contenders import Entrant
from .duels import Duel, Verdict

_VERDICTS: dict[Verdict, str] = {
    "first": "more accurate",
    "tied": "tied",
    "second": "less accurate",
    "not_comparable": "not comparable at equal latency",
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
    if not duel.equally_fast:
        return (
            f"Not comparable: {what} are not shown to be equally fast within 3 %, the latency ratio is {latency}. "
            f"For them {gap}."
        )
    if duel.verdict == "tied":
        return f"Tied: {what} are equally fast, latency ratio {latency}, and {gap}, which may be none."
    better = a if duel.verdict == "first" else b
    winner = better[0].upper() + better[1:]
    return f"{winner} is more accurate: {what} are equally fast, latency ratio {latency}, and {gap}."


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


def _name(entrant: Entrant) -> str:
    return f"{FAMILY_NAMES[entrant.family]} by {' = '.join(entrant.criteria) or entrant.label}"


def _points(fraction: float) -> str:
    return f"{100 * fraction:+.1f}"
