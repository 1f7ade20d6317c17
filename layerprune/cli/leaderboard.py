"""The `leaderboard` command."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from .options import Data, Json, Url, connect
from .output import console, count, print_json, table

if TYPE_CHECKING:
    from ..api.leaderboard import Accuracy, LeaderboardRow
    from ..api.wire import Ratio

COLUMNS = (
    "#",
    "",
    "variant",
    "family",
    "by",
    "p50 ms",
    "x base (95 %)",
    "accuracy (95 %)",
    "params",
    "MACs",
    "verdict",
)
NUMBERS = ("#", "p50 ms", "params", "MACs")
MEASURED = ("x base (95 %)", "accuracy (95 %)")
FAMILIES = {
    "base": "base",
    "layer": "layers",
    "filter": "filters",
    "filter_aligned": "filters, aligned",
    "hybrid": "hybrid",
    "handcrafted": "handcrafted",
}
VERDICT_STYLES = {"stable": "", "flagged": "yellow", "invalid": "red"}

Text = str | None


class Method(str, Enum):
    """What a variant lost."""

    layer = "layer"
    filter = "filter"
    hybrid = "hybrid"


def leaderboard(
    model: Annotated[Text, typer.Option(help="Only this model.")] = None,
    dataset: Annotated[Text, typer.Option(help="Only this data set.")] = None,
    device: Annotated[Text, typer.Option(help="Only this device.")] = None,
    method: Annotated[Method | None, typer.Option(help="Only layer, filter or hybrid pruning.")] = None,
    criterion: Annotated[Text, typer.Option(help="Only variants chosen by this criterion.")] = None,
    job: Annotated[Text, typer.Option(help="Only this job.")] = None,
    max_latency_ms: Annotated[float | None, typer.Option(min=0, help="Only p50 at or below this.")] = None,
    min_accuracy: Annotated[float | None, typer.Option(min=0, max=1, help="Only accuracy at or above this.")] = None,
    front: Annotated[bool, typer.Option("--front", help="Only what nothing else beats in both ways.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many rows.")] = 100,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show measured variants, the fastest first; * marks the accuracy-latency front, ~ what is tied with it.

    Example: `layerprune leaderboard --device local-cpu --min-accuracy 0.95 --front`
    """
    with connect(url, data) as client:
        board = client.get_leaderboard(
            model=model,
            dataset=dataset,
            device=device,
            method=method.value if method else None,
            criterion=criterion,
            job=job,
            max_latency_ms=max_latency_ms,
            min_accuracy=min_accuracy,
            front=front or None,
            limit=limit,
        )
    if as_json:
        print_json(board)
    elif as_csv:
        write_csv(board.rows)
    else:
        out = console()
        print_rows(board.rows, out)
        if board.total > len(board.rows):
            out.print(f"{len(board.rows)} of {board.total} rows; --limit and the filters show others.", style="dim")
        for waiting in board.unranked:
            out.print(f"{waiting.message}. {waiting.remedy}", style="yellow", soft_wrap=True)


def print_rows(rows: Sequence[LeaderboardRow], out: Console) -> None:
    """Print one table for each set of rows that may be compared."""
    if not rows:
        out.print("Nothing has been measured yet, or nothing passes the filters.")
        return

    def slice_of(row: LeaderboardRow) -> tuple[str, ...]:
        return (row.model, row.dataset, row.device, row.comparable_key)

    for _, group in groupby(sorted(rows, key=slice_of), key=slice_of):
        print_slice(list(group), out)


def print_slice(rows: Sequence[LeaderboardRow], out: Console) -> None:
    """Print the rows of one model, data set, device and set of conditions; only stable ones get a rank."""
    first = rows[0]
    title = (
        f"{first.model} on {first.dataset}, {first.device}: {first.runtime}, {first.precision},"
        f" batch {first.batch_size}, {first.threads} thread{'s' if first.threads > 1 else ''}"
    )
    shown = table(*COLUMNS, title=title, right=NUMBERS, whole=MEASURED)
    rank = 0
    for row in sorted(rows, key=lambda each: each.p50_ns):
        rank += row.verdict == "stable"
        shown.add_row(
            str(rank) if row.verdict == "stable" else "-",
            "*" if row.on_front else "~" if row.tied_with_front else "",
            f"{row.label}, seed {row.training_seed}" if row.training_seed else row.label,
            FAMILIES[row.family],
            ", ".join(row.criteria),
            f"{row.p50_ns / 1e6:.3f}",
            ratio_text(row.ratio) if row.ratio else "",
            accuracy_text(row.accuracy),
            count(row.params),
            count(row.macs),
            ", ".join([row.verdict, *row.flags]),
            style=VERDICT_STYLES[row.verdict],
        )
    out.print(shown)


def ratio_text(ratio: Ratio) -> str:
    return f"{ratio.value:.3f} [{ratio.ci_low:.3f}, {ratio.ci_high:.3f}]"


def accuracy_text(accuracy: Accuracy) -> str:
    value, low, high = (100 * part for part in (accuracy.value, accuracy.ci_low, accuracy.ci_high))
    return f"{accuracy.correct}/{accuracy.n} = {value:.1f} % [{low:.1f}, {high:.1f}]"


def write_csv(rows: Sequence[LeaderboardRow]) -> None:
    """Write every field of every row; nested ones as name_part."""
    flat = [_flat(row.model_dump(mode="json")) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    writer = csv.DictWriter(sys.stdout, names, restval="")
    writer.writeheader()
    writer.writerows(flat)


def _flat(record: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}_")
        elif isinstance(value, list):
            flat[prefix + name] = " ".join(str(each) for each in value)
        elif value is not None:
            flat[prefix + name] = value
    return flat
