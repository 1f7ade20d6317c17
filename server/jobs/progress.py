"""How far a job is, and the time that is left, from its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from server.models import Attempt, Job, Task

_SHARES = {"score": 0.25, "sweep": 0.1, "build": 0.45, "measure": 0.2}
"""How much of a job each stage counts for; searches belong to the sweeps, trials to the builds."""
_FIRST_SWEEP = 0.7
"""How much of the sweeps' stage the first one counts for; each round of a search counts for a third of the rest."""
_TRIAL = 0.15
"""How much of the builds' stage a trial counts for, where there is one."""
_ROUNDS = 3
_OPEN = ("queued", "leased")


def fraction(job: Job, tasks: Sequence[Task]) -> float:
    """Between 0 and 1, by stages; a stage that has not begun counts nothing, one that is over counts in full."""
    if job.state == "done":
        return 1.0
    by_kind: dict[str, list[Task]] = {}
    for task in tasks:
        by_kind.setdefault(task.kind, []).append(task)
    chosen = "trial" in by_kind or "build" in by_kind
    stages = {
        "score": _mean(by_kind.get("score", [])),
        "sweep": 1.0 if chosen else _sweeps(by_kind.get("sweep", []), by_kind.get("search", [])),
        "build": _builds(by_kind.get("trial", []), by_kind.get("build", [])),
        "measure": _mean(by_kind.get("measure", [])),
    }
    if job.request["pruning"].get("amounts"):
        del stages["sweep"]
    total = sum(_SHARES[stage] for stage in stages)
    return min(1.0, sum(_SHARES[stage] * done for stage, done in stages.items()) / total)


def seconds_left(job: Job, tasks: Sequence[Task], attempts: Sequence[Attempt]) -> float:
    """The time that is left, as if one worker did one thing after the other.

    A step takes as long as the job's finished steps of that kind took, or else its share of the estimate. Searches and
    trials count once they are there.
    """
    total_s = float(job.estimate["minutes"]) * 60
    places = sum(task.kind == "sweep" for task in tasks) or 1
    builds = sum(task.kind == "build" for task in tasks) or max(1, int(job.estimate["trainings"]))
    counts = {"score": 1, "sweep": places, "search": 0, "trial": 0, "build": builds, "measure": places}
    if job.request["pruning"].get("amounts"):
        del counts["sweep"]
    kinds = {task.id: task.kind for task in tasks}
    left = 0.0
    for kind, count in counts.items():
        took = [
            (attempt.finished_at - attempt.started_at) / 1e6
            for attempt in attempts
            if attempt.state == "done" and attempt.finished_at and kinds[attempt.task_id] == kind
        ]
        expected_s = median(took) if took else total_s * _SHARES.get(kind, 0.02) / max(1, count)
        own = [task for task in tasks if task.kind == kind]
        left += sum(_task_left(task, expected_s) for task in own) if own else count * expected_s
    return round(left, 1)


def _sweeps(sweeps: Sequence[Task], searches: Sequence[Task]) -> float:
    rounds: dict[int, list[Task]] = {}
    for task in [*sweeps, *searches]:
        rounds.setdefault(int(task.payload.get("round", 0)), []).append(task)
    first = _FIRST_SWEEP * _mean(rounds.pop(0, []))
    # A round is its search and then its sweep.
    later = sum((len(own) > 1 or own[0].kind == "sweep") / 2 + _mean(own) / 2 for own in rounds.values())
    return first + (1 - _FIRST_SWEEP) * later / _ROUNDS


def _builds(trials: Sequence[Task], builds: Sequence[Task]) -> float:
    if not trials:
        return _mean(builds)
    tried = sum(_fraction(task) / 2 ** (number + 1) for number, task in enumerate(trials))
    return _TRIAL * (1.0 if builds else tried) + (1 - _TRIAL) * _mean(builds)


def _mean(tasks: Sequence[Task]) -> float:
    return sum(_fraction(task) for task in tasks) / len(tasks) if tasks else 0.0


def _fraction(task: Task) -> float:
    if task.state not in _OPEN:
        return float(task.state == "done")
    return float((task.progress or {}).get("fraction") or 0.0)


def _task_left(task: Task, expected_s: float) -> float:
    if task.state not in _OPEN:
        return 0.0
    reported = (task.progress or {}).get("seconds_left")
    return expected_s * (1 - _fraction(task)) if reported is None else float(reported)
