"""Time ONNX files against the first of them, on this machine, as a worker does for a job."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..api.errors import BadInput, LayerPruneError
from ..api.wire import Ratio, Wire

if TYPE_CHECKING:
    from workers.tasks.timing import Timed

    from ..api.jobs import Budget, Progress
    from ..api.tasks import MeasuredGroup
    from ..stats import RatioEstimate

Difference = Literal["base", "faster", "slower", "tie"]
LEAST_EFFECT = 0.01
"""A difference of less than 1 % is a tie on any machine, as on the server."""


@dataclass(frozen=True)
class Asked:
    """What to hold fixed while files are timed; `shape` is without the batch."""

    backend: str
    precision: str
    threads: int
    batch: int
    shape: tuple[int, ...]
    budget: Budget
    seed: int
    settings: dict[str, bool | int | str] = field(default_factory=dict)
    python: str | None = None


class Timing(Wire):
    """What timing one file came to; `ratio` and `difference` are to the first file, `control` is that to itself."""

    file: str
    backend: str
    p50_ns: int
    p90_ns: int | None
    p99_ns: int | None
    n_samples: int
    ratio: Ratio
    low_ratio: float
    control: Ratio
    difference: Difference
    verdict: str
    flags: list[str]
    seconds: float


@dataclass(frozen=True)
class Compared:
    """All timings of one backend, and the conditions under which they may be compared."""

    timings: list[Timing]
    conditions: dict[str, object]
    outputs: list[Path]


@contextmanager
def machine_alone(*, wait: bool, say: Callable[[str], None]) -> Iterator[None]:
    """Have this machine for oneself, among all that uses LayerPrune's locks.

    Raises LayerPruneError with the code `device_busy` if somebody else has it, unless `wait` is set.
    """
    from workers.hostlock import HostLock

    def on_wait(waiting: bool) -> None:
        if not waiting:
            return
        if not wait:
            raise LayerPruneError(
                "somebody else builds or measures on this machine",
                code="device_busy",
                remedy="Wait until that has ended (layerprune jobs shows jobs), or give --wait.",
            )
        say("Waiting until nobody else builds or measures on this machine ...")

    with HostLock(on_wait=on_wait).measuring():
        yield


def check_python(python: str | None) -> None:
    """Refuse an interpreter that is not there."""
    if python is not None and shutil.which(python) is None:
        raise BadInput(
            f"there is no interpreter {python}",
            field="python",
            value=python,
            remedy="Give the path of a Python from 3.8 on that has numpy and the runtime.",
        )


def compare_files(files: Sequence[Path], asked: Asked, *, folder: Path, report: Callable[[Progress], None]) -> Compared:
    """Try each file, then time all of them in groups with the first one; raises BadInput or LayerPruneError."""
    from workers.tasks.measure import BUDGETS
    from workers.tasks.timing import Timer

    from ..api.tasks import Condition

    outputs = _try_out(files, asked, folder / "trial", report)
    timer = Timer(
        condition=Condition(
            backend=asked.backend,
            precision=asked.precision,
            batch_size=asked.batch,
            threads=asked.threads,
            settings=asked.settings,
            budget=asked.budget,
        ),
        shape=asked.shape,
        budget=dataclasses.replace(BUDGETS[asked.budget], batches=(), energy_s=0.0),
        seed=asked.seed,
        folder=folder,
        report=report,
        checkpoint=lambda: None,
        python=asked.python,
    )
    started = time.monotonic()
    timed = timer.run(files[0], {str(i): path for i, path in enumerate(files) if i})
    seconds = time.monotonic() - started
    return Compared(_timings(files, asked, timed, folder, seconds), timed.conditions, outputs)


def _try_out(files: Sequence[Path], asked: Asked, folder: Path, report: Callable[[Progress], None]) -> list[Path]:
    """Run each different file once; return where the outputs of each file lie."""
    from workers.harness.loop import Plan
    from workers.tasks.harness import run_harness

    from ..api.jobs import Progress

    folder.mkdir(parents=True)
    names = list(dict.fromkeys(str(path) for path in files))
    request = {
        "try_out": True,
        "backend": asked.backend,
        "precision": asked.precision,
        "threads": asked.threads,
        "settings": asked.settings,
        "shape": [asked.batch, *asked.shape],
        "networks": {name: name for name in names},
        "plan": dataclasses.asdict(Plan()),
        "seed": asked.seed,
        "folder": str(folder),
    }
    last = {"phase": "starting"}

    def tell(event: dict[str, object]) -> None:
        last["phase"] = str(event["phase"])
        report(Progress(phase=last["phase"]))

    try:
        found = run_harness(request, log=folder / "log.txt", on_progress=tell, python=asked.python)
    except LayerPruneError as error:
        if error.code in ("oom", "crashed", "timeout") and "trying" in last["phase"]:
            raise LayerPruneError(
                f"{last['phase'].partition(' ')[2]}: {error.message}", code=error.code, remedy=error.remedy
            ) from error
        raise
    return [folder / found["outputs"][str(path)] for path in files]


def _timings(files: Sequence[Path], asked: Asked, timed: Timed, folder: Path, seconds: float) -> list[Timing]:
    from workers.tasks.timing import BASE

    found: dict[str, Timing] = {}
    for group in timed.groups:
        for timing, name in _of_group(files, asked, group, folder, variants=len(files) - 1):
            if name != BASE or BASE not in found:
                found[name] = timing.model_copy(update={"seconds": round(seconds / len(timed.groups), 3)})
    return [found[BASE if i == 0 else str(i)] for i in range(len(files))]


def _of_group(
    files: Sequence[Path], asked: Asked, group: MeasuredGroup, folder: Path, *, variants: int
) -> Iterator[tuple[Timing, str]]:
    from workers.tasks.timing import BASE, CONTROL

    from .. import doubts
    from ..flags import FLAGS, verdict
    from ..samples import decode
    from ..stats import percentile_bound_ns, ratio, ratio_flags

    samples = {one.session: decode((folder / one.samples).read_bytes()) for one in group.sessions}
    control = ratio(samples[CONTROL], samples[BASE], seed=asked.seed)
    for one in group.sessions:
        if one.session == CONTROL:
            continue
        is_base = one.session == BASE
        own = control if is_base else ratio(samples[one.session], samples[BASE], seed=asked.seed)
        raised = {*group.flags, *ratio_flags(own, control), *doubts.of_samples(samples[one.session])}
        flags = [flag for flag in FLAGS if flag in raised]
        yield (
            Timing(
                file=str(files[0 if is_base else int(one.session)]),
                backend=asked.backend,
                p50_ns=one.p50_ns,
                p90_ns=percentile_bound_ns(samples[one.session], 0.9),
                p99_ns=percentile_bound_ns(samples[one.session], 0.99),
                n_samples=one.n_samples,
                ratio=Ratio(value=1, ci_low=1, ci_high=1) if is_base else _told(own),
                low_ratio=1.0 if is_base else own.low_value,
                control=_told(control),
                difference="base" if is_base else _difference(own, control, variants=variants),
                verdict=verdict(flags),
                flags=flags,
                seconds=0.0,
            ),
            one.session,
        )


def _told(estimate: RatioEstimate) -> Ratio:
    return Ratio(value=estimate.value, ci_low=estimate.ci_low, ci_high=estimate.ci_high)


def _difference(own: RatioEstimate, control: RatioEstimate, *, variants: int) -> Difference:
    """Say which is faster, where that is certain: over all files together one in twenty tables may be wrong.

    Less than 1 %, or than what the base shows against itself in the same run, is no difference.
    """
    import math

    from ..stats import deciding_ratio, is_different

    noise_floor = max(LEAST_EFFECT, abs(math.log(deciding_ratio(control))))
    if not is_different(own, noise_floor=noise_floor, level=0.05 / variants):
        return "tie"
    return "faster" if own.value < 1 else "slower"


@contextmanager
def working_folder() -> Iterator[Path]:
    """Give a folder that is gone afterwards, whatever happened."""
    with tempfile.TemporaryDirectory(prefix="layerprune-") as name:
        yield Path(name)
