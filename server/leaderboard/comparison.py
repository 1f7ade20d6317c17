"""The comparison of a job's families, computed from stored measurements whenever it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy.orm import Session

from layerprune.api.comparison import Comparison, DeviceComparison, FamilyReach, FrontDuel, Interval, TargetComparison
from layerprune.api.comparison import Duel as DuelView
from layerprune.api.jobs import JobRequest
from layerprune.api.pruning import Family
from layerprune.stats import RatioEstimate
from server.artifacts.store import LocalStore
from server.devices import proofs
from server.jobs import planning
from server.measurements.conditions import runtime
from server.measurements.samples import ratio_of
from server.models import Job, Measurement

from . import meetings, places, sentences, views
from .contenders import Chosen, Goal, Run
from .control import against_control
from .duels import DirectRatio
from .envelope import Front, staircase
from .fronts import courses
from .meetings import Meeting
from .places import Place
from .resampling import draw, hypervolume
from .service import accuracy

SEED = 0
"""Seeds every bootstrap, so that the same samples always give the same numbers."""
NOTHING_SWEPT = "only the amounts that the job names were tried"
FILTERS: tuple[Family, ...] = ("filter", "filter_aligned")


def compare(session: Session, store: LocalStore, job: Job, *, with_fronts: bool = True) -> Comparison:
    """Compare a job's families on every device and under every condition that it has measured.

    Without fronts, what needs resampling is left out: latency at equal accuracy, crossovers, hypervolumes.
    """
    request = JobRequest.model_validate(job.request)
    direct = _direct_ratio(store)
    devices = [
        _compare_place(job, request, place, direct, with_fronts=with_fronts)
        for place in places.load(session, job, request)
    ]
    return Comparison(
        job=job.public_id,
        model=job.model,
        dataset=job.dataset,
        complete=job.state == "done",
        devices=devices,
        notes=[*job.notes, *_unproven(session, job), *(defect for device in devices for defect in device.defects)],
    )


def _unproven(session: Session, job: Job) -> list[str]:
    """Say which of a job's rows are on no leaderboard, because no report has proven their devices' runtimes."""
    found = proofs.unranked(session, Measurement.job_id == job.id, Measurement.unproven.is_(True))
    return [f"{one.device}: {one.message}. {one.remedy}." for one in found]


def _compare_place(
    job: Job, request: JobRequest, place: Place, direct: DirectRatio, *, with_fronts: bool
) -> DeviceComparison:
    row, criteria = place.row, request.pruning.criteria
    drawn = meetings.fronts(place)
    targets, defects = [], []
    chosen_at = [meetings.choose(place, goal) for goal in place.goals]
    met_at = meetings.meet_all(chosen_at, drawn, direct, least_effect=place.least_effect)
    for goal, chosen, met in zip(place.goals, chosen_at, met_at, strict=True):
        defects += meetings.defects(goal, met, device=row.device.name)
        targets.append(_target(goal, chosen, met))
    duels, volumes, reference = _whole_fronts(place, drawn) if with_fronts else ([], {}, None)
    return DeviceComparison(
        device=row.device.name,
        runtime=runtime(row.conditions.key),
        precision=row.precision,
        batch_size=row.batch_size,
        threads=row.threads,
        comparable_key=row.conditions.comparable_key,
        base_p50_ns=place.base_p50_ns,
        base_accuracy=accuracy(row.correct, row.n_images),
        noise_floor=row.noise_floor,
        targets=targets,
        reach=_reach(job, request, place, volumes),
        summary=sentences.of_device(
            row.device.name, targets, seeds=len(request.training.seeds), doubtful=place.doubtful
        ),
        control=against_control(
            place.entrants, place.families, criteria, place.goals, direct, least_effect=place.least_effect
        ),
        forms=meetings.forms(place, criteria, direct),
        fronts=duels,
        reference_accuracy=reference,
        defects=defects,
    )


def _target(goal: Goal, chosen: Chosen[Family], met: Sequence[Meeting]) -> TargetComparison:
    best = _best_filter(chosen)
    return TargetComparison(
        target=goal.label,
        target_ratio=goal.ratio,
        contenders=[views.contender(entrant, tries) for entrant, tries in chosen.contenders.values()],
        duels=[_duel(chosen, meeting, best) for meeting in met],
        missing=dict(chosen.missing),
        winners=meetings.winners(chosen, met),
    )


def _duel(chosen: Chosen[Family], meeting: Meeting, best_filter: Family | None) -> DuelView:
    first, second = chosen.contenders[meeting.first], chosen.contenders[meeting.second]
    view = views.duel(first, second, meeting.duel, meeting.equal)
    is_key = meeting.first == "layer" and meeting.second == best_filter
    return view.model_copy(update={"against_best_filter": is_key})


def _best_filter(chosen: Chosen[Family]) -> Family | None:
    """The filter family whose contender has the higher validation accuracy; the unaligned one if they are equal."""
    present = [family for family in FILTERS if family in chosen.contenders]
    return max(present, key=lambda family: chosen.contenders[family][0].validation, default=None)


def _whole_fronts(
    place: Place, drawn: Mapping[Family, Front]
) -> tuple[list[FrontDuel], dict[Family, Interval], float | None]:
    """Compare whole fronts, and give each family's hypervolume with the accuracy from which it counts."""
    stable = [entrant for entrant in place.entrants if entrant.is_stable]
    if not stable:
        return [], {}, None
    draws = draw([place.base, *stable], seed=SEED)
    reference = float(draws.accuracies[0].min())
    found = courses(drawn, draws, place.base)
    volumes = {}
    for family in place.families:
        steps = staircase([entrant for entrant in stable if entrant.family == family])
        if steps:
            volumes[family] = views.interval(hypervolume(steps, draws, reference=reference))
    return [views.front_duel(course) for course in found], volumes, reference


def _direct_ratio(store: LocalStore) -> Callable[[Run, Run], RatioEstimate | None]:
    """Compare runs by their samples where they were timed in one group, which is sharper than by way of the base."""
    known: dict[tuple[str, str], RatioEstimate] = {}

    def direct(a: Run, b: Run) -> RatioEstimate | None:
        pair = a.samples, b.samples
        paths = store.path(a.samples), store.path(b.samples)
        if a.group != b.group or not all(path.is_file() for path in paths):
            return None
        if pair not in known:
            known[pair] = ratio_of(*paths, seed=SEED)
        return known[pair]

    return direct


def _reach(job: Job, request: JobRequest, place: Place, volumes: Mapping[Family, Interval]) -> list[FamilyReach]:
    """The lowest latency of each family on this device, swept or measured, and what stops it.

    A job that names amounts sweeps nothing, so how far its families could go is not known.
    """
    stopped_by: dict[str, str] = {reach.family: reach.stopped_by for reach in planning.reaches(job)}
    if request.pruning.amounts:
        stopped_by = dict.fromkeys(place.families, NOTHING_SWEPT)
    stopped_by["handcrafted"] = "only the networks that the job names were tried"
    return [
        FamilyReach(
            family=family,
            lowest_ratio=min(
                [
                    *(plan.ratio for plan in place.swept.get(family, ())),
                    *(entrant.typical.ratio.value for entrant in place.of(family)),
                ],
                default=None,
            ),
            stopped_by=stopped_by.get(family, "not known"),
            hypervolume=volumes.get(family),
        )
        for family in place.families
    ]
