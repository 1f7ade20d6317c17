"""The `jobs` and `cancel` commands."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from .options import Data, Json, Url, connect
from .output import console, duration, moment, print_json, state_text, table


class State(str, Enum):
    """The states of a job."""

    queued = "queued"
    running = "running"
    done = "done"
    failed = "failed"
    cancelled = "cancelled"


def jobs(
    state: Annotated[State | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many, the newest first.")] = 20,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first.

    Example: `layerprune jobs --state running`
    """
    with connect(url, data) as client:
        found = client.list_jobs(limit=limit, state=state.value if state else None)
    if as_json:
        print_json(found)
        return
    rows = table("job", "submitted", "state", "progress", "time left", "model", "data set", "note", right=["progress"])
    for job in found.jobs:
        rows.add_row(
            job.id,
            moment(job.created_at),
            state_text(job.state),
            f"{job.progress:.0%}",
            duration(job.seconds_left) if job.seconds_left is not None and job.finished_at is None else "",
            job.request.model.name,
            job.request.dataset.name,
            job.message or (f"waits for {job.waiting_for}" if job.waiting_for else ""),
        )
    console().print(rows if found.jobs else "no jobs; submit one with: layerprune submit --help")
    if found.next_cursor:
        console().print("There are more; raise --limit to see them.", style="dim")


def cancel(
    job: Annotated[str, typer.Argument(help="Id of the job.")],
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Cancel a job: a training stops within seconds, a measurement at its next block.

    Example: `layerprune cancel 0197c0de-...`
    """
    with connect(url, data) as client:
        view = client.cancel(job)
    if as_json:
        print_json(view)
    else:
        console().print(f"Job {view.id} is {view.state}.")
