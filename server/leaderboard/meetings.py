"""Two families, or two forms of one criterion, at a goal: their contenders, and their fronts at one latency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from layerprune.api.comparison import FormDuel
from layerprune.api.pruning import Family

from . import sentences, views
from .contenders import Chosen, Entrant, Goal
from .duels import DirectRatio, Duel, EqualLatency, Side, at_equal_latency, fight, hold
from .envelope import Front, front
from .places import Place

FORMS: tuple[tuple[Family, Family], ...] = (("layer", "filter"), ("layer", "filter_aligned"))
CONTAINED: tuple[Family, ...] = ("layer", "filter_aligned")
"""Families of which hybrid can choose every plan; unaligned filters are not among its choices."""


@dataclass(frozen=True, eq=False)
class Meeting:
    """Two families' contenders at a goal, and what came of them."""

    first: Family
    second: Family
    duel: Duel
    equal: EqualLatency | None

    @property
    def winner(self) -> Side | Literal["tied"] | None:
        """Who is more accurate at equal latency (or faster too); None if that was not to be compared."""
        if self.equal is not None:
            return self.equal.verdict
        return self.duel.better if self.duel.verdict in ("first", "second") else None

    def beats(self, family: Family) -> bool:
        """Whether the other one is shown to be worse than this family."""
        return self.winner == ("first" if family == self.first else "second")


def fronts(place: Place) -> dict[Family, Front]:
    """Draw every family's front; those that were pruned end at the base."""
    return {
        family: front(place.of(family), None if family == "handcrafted" else place.base) for family in place.families
    }


def choose(place: Place, goal: Goal) -> Chosen[Family]:
    """Choose each family's contender; rivals are as many as the user named, so they take no tries from the others."""
    groups: dict[Family, list[Entrant]] = {family: place.of(family) for family in place.families}
    named: dict[Family, list[Entrant]] = {
        family: groups.pop(family) for family in place.families if family == "handcrafted"
    }
    pruned: Chosen[Family] = goal.choose(groups, place.swept)
    rivals: Chosen[Family] = goal.choose(named, place.swept)
    return Chosen({**pruned.contenders, **rivals.contenders}, {**pruned.missing, **rivals.missing})


def meet_all(
    chosen: Sequence[Chosen[Family]], drawn: Mapping[Family, Front], direct: DirectRatio, *, least_effect: float
) -> list[list[Meeting]]:
    """Let every two families meet that have a contender, at every goal; what is shown holds for all together."""
    pairs = [(at, *pair) for at, one in enumerate(chosen) for pair in combinations(one.contenders, 2)]
    fought = []
    for at, first, second in pairs:
        a, b = chosen[at].contenders[first][0], chosen[at].contenders[second][0]
        duel = fight(a, b, direct, least_effect=least_effect)
        fought.append((duel, at_equal_latency(a, b, duel, (drawn[first], drawn[second]))))
    found: list[list[Meeting]] = [[] for _ in chosen]
    for (at, first, second), (duel, equal) in zip(pairs, hold(fought), strict=True):
        found[at].append(Meeting(first, second, duel, equal))
    return found


def winners(chosen: Chosen[Family], meetings: Sequence[Meeting]) -> list[Family]:
    """The family that beats all others at a goal, or those that are tied.

    Of the families that none beats, the one with the best validation accuracy comes first, then those tied with it.
    Families that could not be compared with it are left out; empty if it could be compared with none.
    """
    beaten = {one for m in meetings for one, other in ((m.first, m.second), (m.second, m.first)) if m.beats(other)}
    unbeaten = [family for family in chosen.contenders if family not in beaten]
    if not unbeaten:
        return []
    best = max(unbeaten, key=lambda family: chosen.contenders[family][0].validation)
    compared = [(m.second if m.first == best else m.first, m) for m in meetings if best in (m.first, m.second)]
    compared = [(other, m) for other, m in compared if m.winner is not None]
    tied = [other for other, m in compared if m.winner == "tied"]
    # One that is beaten elsewhere is no winner, but as long as it is tied with the best, the best has not won alone.
    return [best, *([other for other in tied if other in unbeaten] or tied)] if compared else []


def defects(goal: Goal, meetings: Iterable[Meeting], *, device: str) -> list[str]:
    """Name every family that beats the hybrids although they could have chosen its plans."""
    return [
        sentences.of_defect(device, goal.label, other)
        for meeting in meetings
        for hybrid, other in ((meeting.first, meeting.second), (meeting.second, meeting.first))
        if hybrid == "hybrid" and other in CONTAINED and meeting.beats(other)
    ]


def forms(place: Place, criteria: Sequence[str], direct: DirectRatio) -> list[FormDuel]:
    """Compare what each criterion chooses as layers with what it chooses as filters, at every goal."""
    met: list[tuple[str, Goal, Sequence[Entrant]]] = []
    fought = []
    for criterion in criteria:
        for families in FORMS:
            groups = {family: place.of(family, criterion) for family in families}
            for goal in place.goals if all(groups.values()) else ():
                chosen = goal.choose(groups).contenders
                if len(chosen) == len(families):
                    a, b = (chosen[family][0] for family in families)
                    duel = fight(a, b, direct, least_effect=place.least_effect)
                    first, second = (front(groups[family], place.base) for family in families)
                    fought.append((duel, at_equal_latency(a, b, duel, (first, second))))
                    met.append((criterion, goal, (a, b)))
    return [_form(*one, *outcome) for one, outcome in zip(met, hold(fought), strict=True)]


def _form(criterion: str, goal: Goal, pair: Sequence[Entrant], duel: Duel, equal: EqualLatency | None) -> FormDuel:
    a, b = pair
    return FormDuel(
        criterion=criterion,
        target=goal.label,
        first=a.family,
        second=b.family,
        at_equal_latency=views.at_equal_latency(a, b, equal) if equal else None,
        sentence=sentences.of_equal_latency(a, b, equal) if equal else sentences.of_duel(a, b, duel),
    )
