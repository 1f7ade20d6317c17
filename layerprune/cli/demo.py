"""The `demo` command: from nothing to a leaderboard, for real, on this machine."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from .memory import tree_bytes
from .options import DATA_FOLDER, HOST, DataFolder
from .output import INTERRUPTED, console, duration, table

if TYPE_CHECKING:
    from ..api.catalogue import BackendInfo
    from ..api.client import Client
    from ..api.jobs import JobRequest, JobView

EPOCHS = 3
RATIOS = (0.75, 0.5)
CRITERIA = ("weight_l1", "imprinting", "random")
ALIGNMENTS = (1, 8)
SWEEP_MINUTES = 0.5
"""Per runtime and number of threads; what is left out are the finest steps (docs/jobs.md)."""
MAX_TRAININGS = 18
RUNTIMES = ("onnxruntime", "openvino")
THREADS = (1, 2)
OVERHEAD = ("starting", "preparing")
"""Phases in which a task's process gets ready; the others work on networks."""
GIB = 1024**3


@dataclass
class Bill:
    """What the demo spent."""

    begun: float
    started_s: float = 0
    peak_bytes: int = 0


def demo(
    data: DataFolder = DATA_FOLDER,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 0,
) -> None:
    """Train ResNet-20 on handwritten digits, prune it by layers, by filters and by both, measure, and compare.

    Every variant is measured on ONNX Runtime and on OpenVINO, with one thread and with two: which family wins may
    differ. Nothing is canned: every number is computed now, on this machine; a second run is a new job in the same
    folder.

    Example: `layerprune demo --data /tmp/demo`
    """
    from .stack import Stack

    out = console()
    bill = Bill(begun=time.monotonic())
    out.print("Starting a server and a worker on this machine ...")

    def say(text: str) -> None:
        out.print(text, soft_wrap=True)

    try:
        with Stack(data, HOST, port, say=say) as stack, stack.client() as client:
            bill.started_s = time.monotonic() - bill.begun
            say(f"They answer at {stack.url} after {bill.started_s:.0f} s; their data and logs are in {data}.")
            job = _run(client, out, stack.check, bill)
    except KeyboardInterrupt:
        say("Interrupted; everything has stopped, and what had been measured before stays.")
        raise typer.Exit(INTERRUPTED) from None
    say(f"Look at it in a browser: {sys.argv[0]} up --data {data}   (it prints a link that signs you in)")
    if job.state != "done":
        raise typer.Exit(1)


def request(runtimes: Sequence[str] = RUNTIMES, threads: Sequence[int] = THREADS) -> JobRequest:
    """Return what the demo asks for, as any user could."""
    from ..api.dataset import DatasetSpec
    from ..api.jobs import JobRequest, MeasureSpec
    from ..api.network import ModelSpec
    from ..api.pruning import FilterOptions, PruningSpec, TargetLists
    from ..api.training import TrainingSpec
    from .stack import DEVICE

    return JobRequest(
        model=ModelSpec(name="cifar:resnet20"),
        dataset=DatasetSpec(name="digits"),
        pruning=PruningSpec(
            methods=["layer", "filter", "hybrid"],
            criteria=list(CRITERIA),
            targets=TargetLists(latency_ratios=list(RATIOS)),
            filters=FilterOptions(alignments=list(ALIGNMENTS)),
            max_trainings=MAX_TRAININGS,
            max_sweep_minutes=SWEEP_MINUTES,
        ),
        training=TrainingSpec(epochs=EPOCHS),
        measure=MeasureSpec(devices=[DEVICE], backends=list(runtimes), threads=list(threads), budget="quick"),
    )


def places(offered: Sequence[BackendInfo], out: Console) -> tuple[list[str], list[int]]:
    """Choose what this machine has of the demo's runtimes and threads, and say what it lacks."""
    here = {backend.name: backend for backend in offered if backend.name in RUNTIMES}
    for name in RUNTIMES:
        if name not in here:
            out.print(f"{name} is not installed here and left out; pip install {name} would add it.")
    most = min((backend.max_threads for backend in here.values()), default=1)
    return [name for name in RUNTIMES if name in here], [count for count in THREADS if count <= most]


def _run(client: Client, out: Console, check: Callable[[], None], bill: Bill) -> JobView:
    """Submit, follow and report; an interruption cancels the job."""
    from .compare import print_comparison
    from .leaderboard import print_rows
    from .submit import cost
    from .watch import is_measuring, show_until_finished

    unfinished = [job.id for state in ("running", "queued") for job in client.list_jobs(state=state).jobs]
    if unfinished:
        out.print(f"Left from before and unfinished: {', '.join(unfinished)}; the worker serves them too.")
    job = client.submit(request(*places(_runtimes(client), out)))
    out.print(f"Job {job.id}: {cost(job)}. Ctrl-C cancels it.", soft_wrap=True)

    def look(seen: JobView) -> None:
        check()
        if not is_measuring(seen):
            bill.peak_bytes = max(bill.peak_bytes, tree_bytes(os.getpid()) or 0)

    try:
        job = show_until_finished(client, job.id, out, each_look=look)
    except KeyboardInterrupt:
        client.cancel(job.id)
        out.print(f"Job {job.id} is cancelled; stopping ...")
        raise
    out.print()
    print_rows(client.get_leaderboard(job=job.id, limit=200).rows, out)
    out.print()
    print_comparison(client.comparison(job.id), out)
    print_bill(job, bill, out)
    return job


def _runtimes(client: Client) -> list[BackendInfo]:
    from .stack import DEVICE

    return next(device.runtimes for device in client.list_devices() if device.name == DEVICE)


def print_bill(job: JobView, bill: Bill, out: Console) -> None:
    """Say where time and memory went; what is not work on networks is overhead."""
    wall_s = time.monotonic() - bill.begun
    work = {phase: seconds for phase, seconds in job.seconds.items() if phase not in OVERHEAD}
    overhead = {phase: seconds for phase, seconds in job.seconds.items() if phase in OVERHEAD}
    overhead["server and worker"] = bill.started_s
    overhead["all else: imports, transfers, waiting"] = wall_s - sum(work.values()) - sum(overhead.values())
    rows = table("where the time went", "s", "share", right=["s", "share"])
    for phases in (work, overhead):
        for phase, seconds in sorted(phases.items(), key=lambda item: -item[1]):
            rows.add_row(phase.replace("_", " "), f"{seconds:.1f}", f"{seconds / wall_s:.0%}")
        rows.add_section()
    out.print(rows)
    work_s = sum(work.values())
    ratio = (
        f": {wall_s / work_s:.2f} times the {duration(work_s)} of training, scoring, exporting and measuring"
        if work_s
        else ""
    )
    out.print(f"In all {duration(wall_s)}{ratio}.")
    if bill.peak_bytes:
        out.print(
            f"Memory: at most {bill.peak_bytes / GIB:.2f} GiB in all processes together, looked at outside measuring."
        )
