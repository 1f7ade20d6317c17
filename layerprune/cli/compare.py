"""The `compare` command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from .leaderboard import FAMILIES, MEASURED, accuracy_text, ratio_text
from .options import Data, Json, Url, connect
from .output import console, print_json, table

if TYPE_CHECKING:
    from ..api.leaderboard import Comparison, DeviceComparison


def compare(
    job: Annotated[str, typer.Argument(help="Id of the job.")],
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say which family wins at equal measured latency, per device and target.

    Example: `layerprune compare 0197c0de-...`
    """
    with connect(url, data) as client:
        found = client.comparison(job)
    if as_json:
        print_json(found)
    else:
        print_comparison(found, console())


def print_comparison(comparison: Comparison, out: Console) -> None:
    """Print tables and sentences per device, then what was left out."""
    if not comparison.devices:
        out.print("Nothing has been measured for this job yet.")
    for device in comparison.devices:
        _print_device(comparison, device, out)
    if not comparison.complete:
        out.print("The job has not finished: this is what stands so far.", style="yellow")
    for note in comparison.notes:
        out.print(Text(f"Note: {note}", style="dim"))


def _print_device(comparison: Comparison, device: DeviceComparison, out: Console) -> None:
    threads = f"{device.threads} thread{'s' if device.threads > 1 else ''}"
    title = (
        f"{comparison.model} on {comparison.dataset}, {device.device}: {device.runtime}, {device.precision},"
        f" batch {device.batch_size}, {threads}\n"
        f"base: {device.base_p50_ns / 1e6:.3f} ms, {accuracy_text(device.base_accuracy)}"
    )
    rows = table(
        "target",
        "family",
        "best variant",
        "by",
        "x base (95 %)",
        "accuracy (95 %)",
        "best of",
        title=title,
        whole=MEASURED,
    )
    for target in device.targets:
        name = target.target
        for contender in target.contenders:
            rows.add_row(
                name,
                FAMILIES[contender.family],
                contender.label,
                ", ".join(contender.criteria),
                ratio_text(contender.ratio),
                accuracy_text(contender.accuracy),
                str(contender.tries),
            )
            name = ""
        for family, why in target.missing.items():
            rows.add_row(name, FAMILIES.get(family, family), Text(f"none: {why}", style="dim"))
            name = ""
    out.print(rows)
    for target in device.targets:
        for duel in target.duels:
            out.print(Text(f"{target.target}: {duel.sentence}"))
    for sentence in device.control:
        out.print(Text(f"Control: {sentence}"))
    for reach in device.reach:
        if reach.lowest_ratio is not None:
            family = FAMILIES[reach.family]
            line = f"Reach: {family} went down to {reach.lowest_ratio:.2f} of the base; {reach.stopped_by}"
            out.print(Text(line, style="dim"))
    out.print(Text(device.summary, style="bold"))
    out.print()
