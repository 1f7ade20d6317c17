"""The comparison in words that claim no more than the intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from layerprune.api.comparison import MatrixRow, TargetComparison
from layerprune.api.pruning import Family
from server.jobs.select import FAMILY_NAMES

from .contenders import Entrant
from .duels import Difference, Duel, EqualLatency, Verdict
from .fronts import Course


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
            chance = _may_be(difference, duel.among)
            return f"Tied: {what} are equally fast, latency ratio {latency}, and {gap}, {chance}."
        winner = a if duel.better == "first" else b
        return f"{_capital(winner)} is more accurate: {what} are equally fast, latency ratio {latency}, and {gap}."
    if duel.faster is None:
        return (
            f"Not comparable: {what} are neither shown to be equally fast within 3 % nor is one shown to be faster, "
            f"the latency ratio is {latency}. For them {gap}."
        )
    quick, by = (a if duel.faster == "first" else b), _lead(duel)
    if duel.better is None:
        chance = f", {_may_be(difference, duel.among)}" if _excludes_none(difference) else ""
        return f"{_capital(quick)} is faster by {by}; no difference in accuracy is shown: for {what} {gap}{chance}."
    if duel.better == duel.faster:
        return f"{_capital(quick)} is faster and more accurate: faster by {by}, and for {what} {gap}."
    return f"Not comparable: {quick} is faster by {by} but less accurate, a trade-off: for {what} {gap}."


def of_equal_latency(first: Entrant, second: Entrant, found: EqualLatency) -> str:
    """Say who is more accurate at one latency, and between which plans a family stands that has none there."""
    difference, names = found.difference, (_name(first), _name(second))
    what = "these trained networks" if difference.seeds == 1 else f"{difference.seeds} training seeds each"
    outcome = (
        f"Tied at {found.ratio:.3g} of the base's latency"
        if found.verdict == "tied"
        else f"{_capital(names[found.verdict == 'second'])} is more accurate at {found.ratio:.3g} of the base's latency"
    )
    between = "".join(
        f"; {name} has no plan there and stands between {' and '.join(_part(*part) for part in stand.parts)}"
        for name, stand in zip(names, (found.first, found.second), strict=True)
        if stand.is_interpolated
    )
    is_chance = found.verdict == "tied" and _excludes_none(difference)
    chance = f", {_may_be(difference, found.among)}" if is_chance else ""
    return (
        f"{outcome}: the accuracy of {names[0]} minus that of {names[1]} is {_points(difference.value)} points "
        f"(95 % interval {_points(difference.low)} to {_points(difference.high)}, {difference.images} test images, "
        f"{what}){chance}{between}."
    )


def of_course(found: Course) -> str:
    """Say how two whole fronts stand to each other: latency at equal accuracy, and the crossover."""
    a, b = FAMILY_NAMES[found.first], FAMILY_NAMES[found.second]
    levels = [
        f"{level.ratio.value:.3f} (95 % interval {level.ratio.low:.3f} to {level.ratio.high:.3f}) at "
        f"{100 * level.accuracy:.1f} %"
        for level in found.levels
    ]
    at_equal = (
        f"latency ratio at equal accuracy {', '.join(levels)}"
        if levels
        else "no accuracy is surely within reach of both"
    )
    crossing = found.crossing
    if crossing is not None:
        change = (
            f"the better one changes at {crossing.ratio:.2f} of the base's latency (between {crossing.low:.2f} and "
            f"{crossing.high:.2f}): below it is {FAMILY_NAMES[crossing.below]}, above it {FAMILY_NAMES[crossing.above]}"
        )
    elif found.better:
        change = f"no crossover is shown, {FAMILY_NAMES[found.better[0]]} is shown to be ahead somewhere"
    else:
        change = "no crossover is shown, nor that either is ahead anywhere"
    return f"{_capital(a)} against {b}: {at_equal}; {change}."


def of_defect(device: str, target: str, winner: Family) -> str:
    """Say that the hybrids lost where they could not have if their search had been right."""
    return (
        f"Defect: on {device} at {target}, {FAMILY_NAMES[winner]} beats hybrid pruning, which could have chosen the "
        "same plan. The costs that the search was given mislead it here."
    )


def of_device(device: str, targets: Sequence[TargetComparison], *, seeds: int, doubtful: int) -> str:
    """Sum up a device: which family is the most accurate at which target, all at equal measured latency."""
    decided: dict[str, list[str]] = {}
    for target in targets:
        if len(target.contenders) > 1:
            decided.setdefault(_winners(target), []).append(target.target)
    if not decided:
        return f"On {device} there is no target at which two families have a measured variant."
    outcomes = [f"{outcome} at {_listed(places)}" for outcome, places in decided.items()]
    summary = f"On {device}, at equal measured latency, {'; '.join(outcomes)}."
    if doubtful:
        carry = "carries flags and was" if doubtful == 1 else "carry flags and were"
        summary += f" {_count(doubtful, 'measured variant')} {carry} not ranked."
    if seeds < 3:
        summary += (
            f" This speaks of the networks that were trained, with {_count(seeds, 'training seed')}; "
            "a statement about the methods needs at least 3 seeds."
        )
    return summary


def of_matrix(rows: Sequence[MatrixRow]) -> str:
    """Say how often each family wins over all places and targets."""
    cells = [cell for row in rows for cell in row.cells if cell.winners]
    if not cells:
        return "Nothing can be compared yet."
    alone = Counter(cell.winners[0] for cell in cells if len(cell.winners) == 1)
    parts = [f"{FAMILY_NAMES[family]} wins {count}" for family, count in alone.most_common()]
    tied = len(cells) - sum(alone.values())
    parts += [f"{tied} {'is a tie' if tied == 1 else 'are ties'}"] if tied else []
    of_all = f"{_count(len(cells), 'comparison')} on {_count(len(rows), 'combination')} of device, runtime and settings"
    return f"Of {of_all}, {', '.join(parts)}."


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
    if entrant.family == "handcrafted":
        return f"the handcrafted {entrant.label}"
    return f"{FAMILY_NAMES[entrant.family]} by {' = '.join(entrant.criteria) or entrant.label}"


def _part(entrant: Entrant, share: float) -> str:
    name = "the base" if entrant.family == "base" else f"{entrant.label!r} ({entrant.typical.ratio.value:.3g})"
    return f"{name} for {share:.0%} of the images"


def _winners(target: TargetComparison) -> str:
    names = [FAMILY_NAMES[family] for family in target.winners]
    if not names:
        return "no two families can be compared"
    if len(names) > 1:
        return f"{_listed(names)} are tied"
    others = [duel for duel in target.duels if target.winners[0] in (duel.first.family, duel.second.family)]
    compared = sum(duel.at_equal_latency is not None or duel.verdict in ("first", "second") for duel in others)
    return f"{names[0]} is more accurate than {'the other family' if compared == 1 else f'{compared} other families'}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _excludes_none(difference: Difference) -> bool:
    return difference.low > 0 or difference.high < 0


def _may_be(difference: Difference, among: int) -> str:
    return f"which may be chance among {among} comparisons" if _excludes_none(difference) else "which may be none"


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
