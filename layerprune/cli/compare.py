"""The `compare` command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .leaderboard import FAMILIES, MEASURED, accuracy_text, ratio_text
from .options import Data, Json, Url, connect
from .output import console, print_json, table

if TYPE_CHECKING:
    from ..api.comparison import Comparison, DeviceComparison, LatencyComparison
    from ..api.pruning import Family


def compare(
    what: Annotated[list[str], typer.Argument(help="Id of a job, or ids of two or more measurements.")],
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say which family of a job wins at equal measured latency; or which of several measurements is faster.

    Measurements must share their conditions; `layerprune leaderboard --json` has their ids.

    Example: `layerprune compare 0197c0de-...`
    """
    with connect(url, data) as client:
        if len(what) > 1:
            latencies = client.compare_latencies(what)
            if as_json:
                print_json(latencies)
            else:
                print_latencies(latencies, console())
            return
        found = client.comparison(what[0])
    if as_json:
        print_json(found)
    else:
        print_comparison(found, console())


def print_latencies(found: LatencyComparison, out: Console) -> None:
    """Print each row against the reference."""
    rows = table(
        "", "p50 ms", "x reference (95 %)", "verdict", title=f"Latency against {found.label}", right=("p50 ms",)
    )
    rows.add_row(found.label, f"{found.p50_ns / 1e6:.3f}", "1", "")
    for pair in found.pairs:
        verdict = "in doubt: " + ", ".join(pair.doubts) if pair.doubts else pair.verdict
        rows.add_row(pair.label, f"{pair.p50_ns / 1e6:.3f}", ratio_text(pair.ratio), verdict)
    out.print(rows)


def print_comparison(comparison: Comparison, out: Console) -> None:
    """Print tables and sentences per device, then what was left out."""
    if not comparison.devices:
        out.print("Nothing has been measured for this job yet.")
    for device in comparison.devices:
        _print_device(comparison, device, out)
    if len(comparison.devices) > 1:
        out.print(_matrix(comparison))
    if not comparison.complete:
        out.print("The job has not finished: this is what stands so far.", style="yellow")
    for note in comparison.notes:
        out.print(Text(f"Note: {note}", style="dim"))


def _matrix(comparison: Comparison) -> Table:
    """Who wins where: a row per device and setting, a column per target."""
    targets = list(dict.fromkeys(target.target for device in comparison.devices for target in device.targets))
    rows = table("device", "runtime", "settings", *targets, title="Most accurate at equal measured latency")
    for device in comparison.devices:
        winners = {target.target: target.winners for target in device.targets}
        settings = f"{device.precision}, batch {device.batch_size}, {_threads(device)}"
        rows.add_row(device.device, device.runtime, settings, *(_cell(winners.get(target)) for target in targets))
    return rows


def _cell(winners: Sequence[Family] | None) -> str:
    if winners is None:
        return "-"
    names = ", ".join(FAMILIES[family] for family in winners)
    return f"tied: {names}" if len(winners) > 1 else names or "no comparison"


def _threads(device: DeviceComparison) -> str:
    return f"{device.threads} thread{'s' if device.threads > 1 else ''}"


def _print_device(comparison: Comparison, device: DeviceComparison, out: Console) -> None:
    title = (
        f"{comparison.model} on {comparison.dataset}, {device.device}: {device.runtime}, {device.precision},"
        f" batch {device.batch_size}, {_threads(device)}\n"
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
    _print_pairs(device, out)
    for front in device.fronts:
        out.print(Text(f"Fronts: {front.sentence}"))
    for sentence in device.control:
        out.print(Text(f"Control: {sentence}"))
    for reach in device.reach:
        if reach.lowest_ratio is not None:
            family = FAMILIES[reach.family]
            line = f"Reach: {family} went down to {reach.lowest_ratio:.2f} of the base; {reach.stopped_by}"
            if reach.hypervolume is not None:
                volume = reach.hypervolume
                line += f"; hypervolume {volume.value:.4f} ({volume.ci_low:.4f} to {volume.ci_high:.4f})"
            out.print(Text(line, style="dim"))
    for defect in device.defects:
        out.print(Text(defect, style="red"))
    out.print(Text(device.summary, style="bold"))
    out.print()


def _print_pairs(device: DeviceComparison, out: Console) -> None:
    """Say how each pair came out; those that could not be compared are counted, or they would bury the rest."""
    open_pairs = 0
    for target in device.targets:
        for duel in target.duels:
            equal = duel.at_equal_latency
            if duel.verdict == "not_comparable" and equal is None:
                open_pairs += 1
                continue
            out.print(Text(f"{target.target}: {duel.sentence}"))
            if equal is not None and equal.interpolated:
                out.print(Text(f"{target.target}: {equal.sentence}"))
    for form in device.forms:
        if form.at_equal_latency is not None:
            out.print(Text(f"{form.criterion}, {form.target}: {form.sentence}", style="dim"))
    if open_pairs:
        pairs = sum(len(target.duels) for target in device.targets)
        why = "with --json, or on the job's page, stands why"
        out.print(Text(f"{open_pairs} of {pairs} pairs of families could not be compared: {why}.", style="yellow"))
