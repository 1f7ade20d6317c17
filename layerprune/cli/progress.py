"""A bar on standard error for work that takes its time; nothing where nobody looks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .output import console

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..api.jobs import Progress


@contextmanager
def bar(doing: str, *, still: bool = False) -> Iterator[Callable[[Progress], None]]:
    """Show what goes on; yields what takes in the reports, without which the bar only moves.

    A `still` one changes at reports alone: while something is timed, nothing draws.
    """
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Display

    from .watch import doing as words

    out = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TimeElapsedColumn())
    hidden = not out.is_terminal
    with Display(*columns, console=out, transient=True, disable=hidden, auto_refresh=not still) as display:
        task = display.add_task(doing, total=None)
        display.refresh()

        def report(progress: Progress) -> None:
            display.update(
                task, description=words(progress), total=1.0, completed=progress.fraction or 0.0, refresh=still
            )

        yield report
