"""The `watch` command: what a job does now, live on a terminal, in plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .options import Data, Json, Url, connect
from .output import INTERRUPTED, console, duration, print_json, state_text

if TYPE_CHECKING:
    from ..api.client import Client
    from ..api.jobs import JobView, Progress

POLL_S = 2.0
QUIET_S = 4.0
"""The pause between two looks while something is measured: drawing must not disturb it."""
LINE_EVERY_S = 10.0
SHOWN_FAILURES = 5


def watch(
    job: Annotated[str, typer.Argument(help="Id of the job.")],
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Follow a job until it ends; Ctrl-C stops the watching, not the job.

    Example: `layerprune watch 0197c0de-...`
    """
    with connect(url, data) as client:
        last = follow_job(client, job, console(stderr=as_json))
    if as_json:
        print_json(last)
    if last.state != "done":
        raise typer.Exit(1)


def follow_job(client: Client, job_id: str, out: Console) -> JobView:
    """Show the job until it has ended; on Ctrl-C say that it goes on, and exit."""
    try:
        return show_until_finished(client, job_id, out)
    except KeyboardInterrupt:
        out.print(f"The job goes on. Watch it again with: layerprune watch {job_id}")
        raise typer.Exit(INTERRUPTED) from None


def show_until_finished(
    client: Client, job_id: str, out: Console, *, each_look: Callable[[JobView], None] = lambda _: None
) -> JobView:
    """Show the job at every event until it has ended; `each_look` is called with every state seen."""
    with _Picture(out) if out.is_terminal else _Lines(out) as display:
        for job in client.follow(job_id, wait_s=POLL_S):
            each_look(job)
            display.show(job)
            if is_measuring(job):
                time.sleep(QUIET_S)
    if job.message and job.state == "failed":
        out.print(Text(f"The job failed ({job.reason}): {job.message}", style="red"), soft_wrap=True)
    return job


class _Picture(Live):
    """The job, drawn anew at every look."""

    def __init__(self, out: Console) -> None:
        super().__init__(console=out, auto_refresh=False)

    def show(self, job: JobView) -> None:
        self.update(picture(job), refresh=True)


class _Lines:
    """A line whenever a task starts or ends, and now and then between."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._said = ""
        self._said_at = 0.0

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the lines as they are."""

    def show(self, job: JobView) -> None:
        step = f"{job.state} {counts(job)}"
        now = time.monotonic()
        if step != self._said or now - self._said_at >= LINE_EVERY_S:
            self._said, self._said_at = step, now
            self._out.print(plain_line(job), soft_wrap=True)


def is_measuring(job: JobView) -> bool:
    """Whether a device is timing something now."""
    return any(task.state == "leased" and task.kind in ("sweep", "measure") for task in job.tasks)


def picture(job: JobView) -> RenderableType:
    """Draw the job: its bar, what runs now, what failed."""
    head = Table.grid(padding=(0, 2))
    left = f"about {duration(job.seconds_left)} left" if job.seconds_left is not None and not job.finished_at else ""
    bar = ProgressBar(total=1, completed=job.progress, width=30)
    head.add_row(Text(f"job {job.id}"), state_text(job.state), bar, f"{job.progress:.0%}", left)
    parts: list[RenderableType] = [head, Text(counts(job), style="dim")]
    running = Table.grid(padding=(0, 2))
    for task in job.tasks:
        if task.state == "leased":
            fraction = task.progress.fraction if task.progress else None
            drawn = ProgressBar(total=1, completed=fraction, width=12) if fraction is not None else Text("")
            running.add_row(Text("  >"), Text(task.title), drawn, Text(doing(task.progress)))
    if running.row_count:
        parts.append(running)
    if job.waiting_for:
        parts.append(Text(f"  waits for {job.waiting_for}", style="yellow"))
    parts.extend(Text(f"  {line}", style="red") for line in failures(job))
    return Group(*parts)


def plain_line(job: JobView) -> str:
    """Say the same in one line."""
    parts = [f"{job.state} {job.progress:.0%}", counts(job)]
    parts += [f"{task.title}: {doing(task.progress)}".rstrip(": ") for task in job.tasks if task.state == "leased"]
    if job.seconds_left is not None and not job.finished_at:
        parts.append(f"about {duration(job.seconds_left)} left")
    if job.waiting_for:
        parts.append(f"waits for {job.waiting_for}")
    return " | ".join(part for part in parts if part)


def counts(job: JobView) -> str:
    """Say how many tasks of each kind are done: 'score 1/1, build 3/24'."""
    total = Counter(task.kind for task in job.tasks)
    done = Counter(task.kind for task in job.tasks if task.state == "done")
    failed = sum(task.state == "failed" for task in job.tasks)
    text = ", ".join(f"{kind} {done[kind]}/{number}" for kind, number in total.items())
    return f"{text}, {failed} failed" if failed else text


def doing(progress: Progress | None) -> str:
    """Say what a task does now: 'fine-tuning, epoch 2/3, loss 0.213, accuracy 96.1 %, 8 s left'."""
    if progress is None:
        return "starting"
    parts = [progress.phase]
    if progress.epoch is None:
        parts.append(progress.message)
    else:
        parts.append(f"epoch {progress.epoch}/{progress.epochs}" if progress.epochs else f"epoch {progress.epoch}")
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.accuracy is not None:
        parts.append(f"accuracy {100 * progress.accuracy:.1f} %")
    if progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    return ", ".join(part for part in parts if part)


def failures(job: JobView) -> list[str]:
    """Return a line for each of the last tasks that failed."""
    failed = [task for task in job.tasks if task.state == "failed"]
    return [f"{task.title} failed ({task.reason}): {_last_line(task.message)}" for task in failed[-SHOWN_FAILURES:]]


def _last_line(text: str | None) -> str:
    return (text or "no message").strip().splitlines()[-1]
