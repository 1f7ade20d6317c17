"""What the commands print: tables for people, JSON for scripts, errors as a sentence with its remedy."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ..api.errors import LayerPruneError
    from ..api.wire import Wire

INTERRUPTED = 130
WIDE = 180
"""Columns when nobody looks: a pipe or a file has no edge to wrap at."""

STATE_STYLES = {"done": "green", "failed": "red", "cancelled": "yellow", "running": "cyan", "queued": "dim"}


def console(*, stderr: bool = False) -> Console:
    """Return a console for the present output; brackets in names are text, not markup."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else WIDE, highlight=False, markup=False)


def log_to_stderr() -> None:
    """Show what a server or a worker has to tell, with the time."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # A line for each request and each look at the schema would drown the rest.
    for talkative in ("httpx", "alembic"):
        logging.getLogger(talkative).setLevel(logging.WARNING)


def print_error(error: LayerPruneError) -> None:
    """Print what went wrong in red, and below it what to do."""
    out = console(stderr=True)
    out.print(Text(f"Error: {error.message}", style="bold red"), soft_wrap=True)
    out.print(Text(error.remedy), soft_wrap=True)


def print_json(value: Wire | Sequence[Wire]) -> None:
    """Print one record, or a list of them, as JSON."""
    if isinstance(value, Sequence):
        text = json.dumps([record.model_dump(mode="json") for record in value], indent=2)
    else:
        text = value.model_dump_json(indent=2)
    sys.stdout.write(text + "\n")


def table(*columns: str, title: str | None = None, right: Iterable[str] = (), whole: Iterable[str] = ()) -> Table:
    """Return an empty table in the house style; `right` names the columns of numbers, `whole` those never broken."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    numbers, unbroken = set(right), {*right, *whole}
    for column in columns:
        justify: JustifyMethod = "right" if column in numbers else "left"
        made.add_column(column, justify=justify, overflow="fold", no_wrap=column in unbroken)
    return made


def state_text(state: str) -> Text:
    return Text(state, style=STATE_STYLES.get(state, ""))


def moment(microseconds: int) -> str:
    """Format a time of the wire as local date and minute."""
    return datetime.fromtimestamp(microseconds / 1e6).strftime("%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """Format seconds as people say them: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def count(number: float) -> str:
    """Format a count with three digits and its unit: 272k, 1.07M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"
