"""The `device page` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BEGIN, END = "<!-- reports: begin -->", "<!-- reports: end -->"
"""What stands between these lines of a page is written anew."""


def page(
    reports: Annotated[
        list[Path], typer.Argument(help="Reports that `layerprune device check` wrote.", exists=True, dir_okay=False)
    ],
    into: Annotated[
        Path | None, typer.Option("--into", help="Page whose table to write anew.  [default: print the table]")
    ] = None,
) -> None:
    """Write down what has been run where, from device reports.

    Example: `layerprune device page docs/hardware/*.json --into docs/hardware.md`
    """
    from workers.harness.backends import BACKENDS

    from ..proof import SYNTHETIC, check_numbers
    from .device_check import read_report
    from .report_text import page_of

    found = [read_report(path) for path in reports]
    for report in found:
        check_numbers(report)
    table = page_of(found, [name for name in BACKENDS if name != SYNTHETIC])
    if into is None:
        typer.echo(table, nl=False)
    else:
        into.write_text(filled(into.read_text(encoding="utf-8"), table, into), encoding="utf-8")


def filled(text: str, table: str, path: Path) -> str:
    """Put the table between the marks of a page; raises BadInput for a page without them."""
    from ..api.errors import BadInput

    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BadInput(
            f"{path} does not say where the table belongs",
            field="into",
            value=str(path),
            remedy=f"Put the lines {BEGIN} and {END} where it shall stand.",
        )
    return f"{before}{BEGIN}\n{table}{END}{after}"
