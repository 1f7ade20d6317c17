"""The `noise` command."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from ..api.wire import Wire
from .measure import Python, Threads, Wait
from .options import Json
from .output import console, print_json, table
from .progress import bar
from .quietness import Finding, findings
from .timed_files import LEAST_EFFECT, check_python, machine_alone, working_folder

if TYPE_CHECKING:
    from workers.tasks.timing import Budget, Timed

    from ..api.jobs import Progress
    from ..api.tasks import MeasuredGroup

PROCESSES, COPIES = 5, 5
SEED = 1
GOOD, BAD = 0.01, 0.03
"""A machine that tells 1 % apart is quiet; one that errs by more than 3 % is noisy."""
GRADE_STYLES = {"good": "green", "fair": "yellow", "bad": "red", "unknown": "dim"}


class NoiseReport(Wire):
    """How far a network measured against itself comes out from 1 on this machine, and why.

    `error_95` is the 95th percentile of |log ratio| over all comparisons of one process, `pooled_95` half the width of
    the interval over all processes, `process_spread` the slowest process's median over the fastest one's. The score is
    100 where `error_95` is 1 % or less, 50 at 2 %, 10 at 10 %.
    """

    score: int
    level: Literal["quiet", "usable", "noisy"]
    comparisons: int
    error_mean: float
    error_95: float
    pooled_95: float
    process_spread: float
    false_differences: int
    backend: str
    threads: int
    seconds: float
    findings: list[Finding]


def noise(
    backend: Annotated[str | None, typer.Option(help="Runtime.  [default: one that is installed]")] = None,
    threads: Threads = 1,
    python: Python = None,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Score this machine: measure a small network against itself for half a minute, and say what disturbs it.

    Example: `layerprune noise --threads 2`
    """
    from workers.harness.host import Host

    from .neighbours import Neighbours
    from .probe import installed

    check_python(python)
    name = installed(python, backend)
    with (
        working_folder() as folder,
        machine_alone(wait=wait, say=console(stderr=True).print),
        bar("starting", still=True) as report,
    ):
        neighbours, started = Neighbours(), time.monotonic()
        timed = _against_itself(folder, name, threads, python, report)
        busiest = neighbours.busiest()
        observed = timed.groups[0].observed["processes"]
        seconds = time.monotonic() - started
        made = _report(timed.groups[0], folder, findings(Host(), observed, busiest), name, threads, seconds)
    if as_json:
        print_json(made)
    else:
        _print(made)


def _budget() -> Budget:
    from workers.harness.loop import Plan
    from workers.tasks.timing import Budget

    plan = Plan(cycles=10, block_ms=20.0, warmup_min_s=0.5, warmup_later_min_s=0.1, warmup_cap_s=3.0)
    return Budget(processes=PROCESSES, plan=plan)


def _against_itself(
    folder: Path, backend: str, threads: int, python: str | None, report: Callable[[Progress], None]
) -> Timed:
    """Time the canary against copies of itself."""
    from workers.harness.canary import NETWORK, SHAPE
    from workers.tasks.timing import Timer

    from ..api.tasks import Condition

    timer = Timer(
        condition=Condition(backend=backend, threads=threads),
        shape=SHAPE[1:],
        budget=_budget(),
        seed=SEED,
        folder=folder,
        report=report,
        checkpoint=lambda: None,
        python=python,
    )
    return timer.run(NETWORK, {f"copy{i}": NETWORK for i in range(1, COPIES)})


def _report(
    group: MeasuredGroup, folder: Path, found: list[Finding], backend: str, threads: int, seconds: float
) -> NoiseReport:
    import numpy as np

    from workers.tasks.timing import BASE

    from ..samples import SampleSet, decode
    from ..stats import is_different, ratio

    samples = {one.session: decode((folder / one.samples).read_bytes()) for one in group.sessions}
    base, copies = samples[BASE], [one for name, one in samples.items() if name != BASE]
    single = [
        ratio(SampleSet((ours,)), SampleSet((theirs,)), seed=i)
        for i, copy in enumerate(copies)
        for ours, theirs in zip(copy.processes, base.processes, strict=True)
    ]
    errors = [abs(math.log(estimate.value)) for estimate in single]
    medians = [float(np.median(process.all_ns())) for process in base.processes]
    error_95 = float(np.percentile(errors, 95))
    return NoiseReport(
        score=round(100 * min(1.0, GOOD / max(error_95, 1e-9))),
        level="quiet" if error_95 <= GOOD else "usable" if error_95 <= BAD else "noisy",
        comparisons=len(single),
        error_mean=float(np.mean(errors)),
        error_95=error_95,
        pooled_95=max(ratio(copy, base, seed=SEED).half_width for copy in copies),
        process_spread=max(medians) / min(medians),
        false_differences=sum(is_different(estimate, noise_floor=LEAST_EFFECT) for estimate in single),
        backend=backend,
        threads=threads,
        seconds=round(seconds, 1),
        findings=found,
    )


def _print(made: NoiseReport) -> None:
    out = console()
    plural = "s" * (made.threads > 1)
    out.print(
        f"{made.level}: score {made.score} of 100. In {made.comparisons} comparisons of a network with itself on "
        f"{made.backend} with {made.threads} thread{plural}, each in one process, the ratio was off by "
        f"{made.error_mean:.2%} on average and by {made.error_95:.2%} at the 95th percentile. "
        f"Over {PROCESSES} processes an interval reaches {made.pooled_95:.2%} to either side; "
        f"the slowest process was {made.process_spread - 1:.1%} slower than the fastest. "
        f"{made.false_differences} would have been called different. {made.seconds:.0f} s.",
        soft_wrap=True,
    )
    shown = table("", "seen", "grade", "what to change", whole=["", "grade"])
    for finding in made.findings:
        style = GRADE_STYLES[finding.grade]
        shown.add_row(finding.what, finding.seen, Text(finding.grade, style=style), finding.advice)
    out.print(shown)
