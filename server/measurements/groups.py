"""Check groups of timed sessions against what was asked and against their own raw samples; trust no claim."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from layerprune.api.errors import BadInput, UnknownName
from layerprune.api.tasks import MeasuredGroup, SessionSamples
from layerprune.flags import FLAGS
from layerprune.samples import SampleSet
from layerprune.stats import RatioEstimate, median_ns

from .conditions import canonical
from .samples import load, ratio_of

BASE, AA = "base", "aa"
"""The sessions that every group holds: the base, and the base again as the control."""
MAX_OBSERVED_BYTES = 512 * 1024
MAX_FACTS_BYTES = 16 * 1024
PathOf = Callable[[str], Path]
"""Says where the content of a digest lies; raises BadInput if the project holds no such artifact."""


@dataclass(frozen=True)
class Part:
    """What the inferences of a session spent on one part, recomputed from its samples."""

    digest: str
    samples: SampleSet
    p50_ns: int


@dataclass(frozen=True)
class Timed:
    """One session, recomputed from its samples; `ratio` is to the base of its group, `facts` are as reported."""

    name: str
    digest: str
    samples: SampleSet
    n_samples: int
    p50_ns: int
    ratio: RatioEstimate
    parts: dict[str, Part]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Group:
    """Sessions that were timed interleaved: base, control and the rest."""

    base: Timed
    aa: Timed
    others: tuple[Timed, ...]
    flags: tuple[str, ...]
    observed: dict[str, Any]


def check(groups: Sequence[MeasuredGroup], asked: Iterable[str], *, path_of: PathOf, seed: int) -> list[Group]:
    """Recompute every group from its samples.

    Raises BadInput if a session is missing, foreign or there twice, if a group lacks base or control, if a flag is
    unknown, if the number of samples or a median differ from what the samples say, or if more is reported than is kept.
    """
    _check_sessions(groups, set(asked))
    return [_group(group, f"groups.{i}", path_of, seed) for i, group in enumerate(groups)]


def _check_sessions(groups: Sequence[MeasuredGroup], asked: set[str]) -> None:
    seen: list[str] = []
    for i, group in enumerate(groups):
        names = [session.session for session in group.sessions]
        for control in (BASE, AA):
            if names.count(control) != 1:
                _refuse(
                    f"group {i} holds {names.count(control)} sessions {control!r}, it must hold one",
                    f"groups.{i}.sessions",
                    names,
                    "Time every group with the base and its A/A control.",
                )
        seen += [name for name in names if name not in (BASE, AA)]
    problems = {
        "were not asked for": sorted(set(seen) - asked),
        "are missing": sorted(asked - set(seen)),
        "are there more than once": sorted({name for name in seen if seen.count(name) > 1}),
    }
    for problem, names in problems.items():
        if names:
            _refuse(
                f"sessions {problem}: {', '.join(names)}", "groups", names, "Time exactly the sessions of the task."
            )


def _group(group: MeasuredGroup, where: str, path_of: PathOf, seed: int) -> Group:
    for flag in group.flags:
        if flag not in FLAGS:
            raise UnknownName("flag", flag, FLAGS, field=f"{where}.flags")
    _check_size(group.observed, MAX_OBSERVED_BYTES, f"{where}.observed")
    base = path_of(next(session.samples for session in group.sessions if session.session == BASE))
    timed = {session.session: _timed(session, base, where, path_of, seed) for session in group.sessions}
    others = tuple(session for name, session in timed.items() if name not in (BASE, AA))
    return Group(timed[BASE], timed[AA], others, tuple(sorted(set(group.flags))), group.observed)


def _timed(session: SessionSamples, base: Path, where: str, path_of: PathOf, seed: int) -> Timed:
    path = path_of(session.samples)
    samples = load(path)
    n_samples, p50_ns = len(samples.all_ns()), median_ns(samples)
    for name, claimed, found in (("n_samples", session.n_samples, n_samples), ("p50_ns", session.p50_ns, p50_ns)):
        if claimed != found:
            _refuse(
                f"session {session.session!r} claims {name} {claimed}, its samples say {found}",
                f"{where}.sessions.{session.session}.{name}",
                claimed,
                "Report what the uploaded samples say.",
            )
    if session.session == BASE:
        estimate = RatioEstimate(1, 1, 1, 1, len(samples.processes))
    else:
        estimate = ratio_of(path, base, seed=seed)
    facts = session.facts.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    _check_size(facts, MAX_FACTS_BYTES, f"{where}.sessions.{session.session}.facts")
    parts = _parts(session, where, path_of)
    return Timed(session.session, session.samples, samples, n_samples, p50_ns, estimate, parts, facts)


def _parts(session: SessionSamples, where: str, path_of: PathOf) -> dict[str, Part]:
    found: dict[str, Part] = {}
    for name, reported in session.parts.items():
        samples = load(path_of(reported.samples))
        p50_ns = median_ns(samples)
        if reported.p50_ns != p50_ns:
            _refuse(
                f"part {name!r} of session {session.session!r} claims p50_ns {reported.p50_ns}, "
                f"its samples say {p50_ns}",
                f"{where}.sessions.{session.session}.parts.{name}",
                reported.p50_ns,
                "Report what the uploaded samples say.",
            )
        found[name] = Part(reported.samples, samples, p50_ns)
    return found


def _check_size(reported: dict[str, Any], limit: int, field: str) -> None:
    size = len(canonical(reported))
    if size > limit:
        _refuse(f"{field} takes {size} bytes, the limit is {limit}", field, size, "Report less of what was observed.")


def _refuse(message: str, field: str, value: object, remedy: str) -> NoReturn:
    raise BadInput(message, field=field, value=value, remedy=remedy)
