"""The `measure` command."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .network_shapes import check_backend, common_input, read_settings, text_of
from .options import Json
from .output import console, duration, print_json, table
from .progress import bar
from .timed_files import Asked, Compared, Timing, check_python, compare_files, machine_alone, working_folder

if TYPE_CHECKING:
    from rich.console import Console

BACKEND = "onnxruntime"
DRAWN_COLUMNS = 41


class Budget(str, Enum):
    """How much time to spend: seconds, half a minute, some minutes."""

    quick = "quick"
    standard = "standard"
    thorough = "thorough"


Backends = Annotated[
    list[str] | None,
    typer.Option("--backend", help=f"Runtime; may be given several times.  [default: {BACKEND}]", show_default=False),
]
Threads = Annotated[int, typer.Option(min=1, help="Threads of the runtime.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Images in one inference.  [default: the file's, or 1]")]
Shape = Annotated[str | None, typer.Option(help="Sizes that a file leaves open, without the batch: 3x224x224.")]
Python = Annotated[str | None, typer.Option(help="Interpreter that has the runtime, such as /usr/bin/python3.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for others on this machine instead of refusing.")]


def measure(
    files: Annotated[list[Path], typer.Argument(help="ONNX files; the first is what the others are compared with.")],
    backend: Backends = None,
    threads: Threads = 1,
    batch: Batch = None,
    shape: Shape = None,
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8, ... as the runtime has it.")] = "fp32",
    budget: Annotated[Budget, typer.Option(help="How much time to spend on it.")] = Budget.quick,
    setting: Annotated[
        list[str] | None, typer.Option(help="Setting of the runtime, NAME=VALUE; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the input and the order of blocks.")] = 0,
    python: Python = None,
    draw: Annotated[bool, typer.Option("--draw", help="Draw the intervals.")] = False,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Time ONNX files on this machine, interleaved, and say which are faster than the first one, and how sure that is.

    One file alone is timed against itself, which shows how much this machine can tell apart.

    Examples:

    `layerprune measure base.onnx pruned.onnx`

    `layerprune measure base.onnx pruned.onnx --backend onnxruntime --backend openvino --threads 2 --budget standard`
    """
    backends = list(dict.fromkeys(backend or [BACKEND]))
    for name in backends:
        check_backend(name)
    check_python(python)
    settings = read_settings(setting or [], backends)
    count, image = common_input(files, batch=batch, shape=shape)
    found = []
    with (
        working_folder() as folder,
        machine_alone(wait=wait, say=console(stderr=True).print),
        bar("starting", still=True) as report,
    ):
        for name in backends:
            asked = Asked(name, precision, threads, count, image, budget.value, seed, settings, python)
            found.append(compare_files(files, asked, folder=folder / name, report=report))
        disagreeing = _disagreeing(files, found)
    timings = [timing for compared in found for timing in _doubted(compared.timings, disagreeing)]
    if as_json:
        print_json(timings)
        return
    for compared in found:
        _print(console(), _doubted(compared.timings, disagreeing), compared, image, draw=draw)
    _explain(console(), timings)


def _disagreeing(files: Sequence[Path], found: Sequence[Compared]) -> set[tuple[str, str]]:
    """Files and backends whose answer is not that of the first backend: fast is no merit if it is wrong."""
    import numpy as np

    from workers.harness.evaluate import compare

    wrong = set()
    first = found[0]
    for compared in found[1:]:
        for path, ours, theirs in zip(files, compared.outputs, first.outputs, strict=True):
            _, agrees = compare(np.load(ours, allow_pickle=False), np.load(theirs, allow_pickle=False))
            if not agrees:
                wrong.add((str(path), compared.timings[0].backend))
    return wrong


def _doubted(timings: Sequence[Timing], disagreeing: set[tuple[str, str]]) -> list[Timing]:
    from ..flags import FLAGS, verdict

    doubted = []
    for timing in timings:
        if (timing.file, timing.backend) in disagreeing:
            raised = {*timing.flags, "output_mismatch"}
            flags = [flag for flag in FLAGS if flag in raised]
            timing = timing.model_copy(update={"flags": flags, "verdict": verdict(flags)})
        doubted.append(timing)
    return doubted


def _print(out: Console, timings: Sequence[Timing], compared: Compared, image: tuple[int, ...], *, draw: bool) -> None:
    conditions = compared.conditions
    control = timings[0].control
    columns = ["file", "p50 ms", "p90 ms", "p99 ms", "x first (95 %)", "", "verdict"]
    shown = table(
        *columns, *(["drawn"] if draw else []), right=columns[1:4], whole=["x first (95 %)", "verdict", "drawn"]
    )
    for timing in timings:
        row = [timing.file, *(_ms(ns) for ns in (timing.p50_ns, timing.p90_ns, timing.p99_ns))]
        row += [_ratio(timing), _words(timing), timing.verdict]
        shown.add_row(*row, *([_drawn(timing, timings)] if draw else []))
    out.print(shown)
    out.print(
        f"{conditions['runtime']} {conditions['runtime_version']} on {conditions['device_model']}: "
        f"{conditions['precision']}, {conditions['threads']} thread{'s' * (conditions['threads'] != 1)}, "
        f"batch {conditions['batch_size']} of {text_of(image)}. "
        f"The first file against itself: {control.value:.3f} ({control.ci_low:.3f} to {control.ci_high:.3f}). "
        f"{duration(timings[0].seconds)} per group.",
        style="dim",
        soft_wrap=True,
    )


def _explain(out: Console, timings: Sequence[Timing]) -> None:
    from ..flags import FLAGS

    for name in (name for name in FLAGS if any(name in timing.flags for timing in timings)):
        files = ", ".join(dict.fromkeys(timing.file for timing in timings if name in timing.flags))
        style = "dim" if FLAGS[name].level == "note" else "yellow"
        out.print(f"{name} ({files}): {FLAGS[name].meaning} {FLAGS[name].remedy}", style=style, soft_wrap=True)


def _ms(nanoseconds: int | None) -> str:
    return "n too small" if nanoseconds is None else f"{nanoseconds / 1e6:.3f}"


def _ratio(timing: Timing) -> str:
    if timing.difference == "base":
        return "1"
    return f"{timing.ratio.value:.3f} ({timing.ratio.ci_low:.3f} to {timing.ratio.ci_high:.3f})"


def _words(timing: Timing) -> str:
    if timing.difference in ("base", "tie"):
        return {"base": "", "tie": "no difference shown"}[timing.difference]
    return f"{abs(1 - timing.ratio.value):.1%} {timing.difference}"


def _drawn(timing: Timing, timings: Sequence[Timing]) -> str:
    """Draw the interval on an axis of logarithms that all rows share; `|` is the first file's latency."""
    ends = [math.log(end) for one in timings for end in (one.ratio.ci_low, one.ratio.ci_high, 1.0)]
    low, span = min(ends), max(max(ends) - min(ends), 1e-3)

    def column(ratio: float) -> int:
        return round((math.log(ratio) - low) / span * (DRAWN_COLUMNS - 1))

    line = [" "] * DRAWN_COLUMNS
    line[column(1.0)] = "|"
    for at in range(column(timing.ratio.ci_low), column(timing.ratio.ci_high) + 1):
        line[at] = "-"
    line[column(timing.ratio.value)] = "o"
    return "".join(line)
