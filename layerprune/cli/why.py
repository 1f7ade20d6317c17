"""The `why` command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .measure import Batch, Python, Shape, Threads, Wait
from .network_shapes import common_input, text_of
from .options import Json
from .output import console, count, print_json, table
from .progress import bar
from .timed_files import check_python, machine_alone, working_folder

if TYPE_CHECKING:
    from rich.console import Console

    from ..api.why import LayerPair, LayerSide, Why

MOST = 20


def why(
    base: Annotated[Path, typer.Argument(help="The ONNX file of the network as it was.")],
    variant: Annotated[Path, typer.Argument(help="The ONNX file of the pruned network.")],
    threads: Threads = 1,
    batch: Batch = None,
    shape: Shape = None,
    everything: Annotated[bool, typer.Option("--all", help="Show every layer, not only the most telling.")] = False,
    python: Python = None,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Say why a pruned network is slower than its MACs promise: layer by layer, in ONNX Runtime on this machine.

    Example: `layerprune why base.onnx pruned.onnx`
    """
    from workers.tasks.why import explain

    from ..api.timings import Condition

    check_python(python)
    images, image = common_input([base, variant], batch=batch, shape=shape)
    condition = Condition(threads=threads, batch_size=images)
    with (
        working_folder() as folder,
        machine_alone(wait=wait, say=console(stderr=True).print),
        bar("starting", still=True) as report,
    ):
        found = explain(
            base, {"variant": variant}, condition=condition, shape=image, folder=folder, python=python, report=report
        )["variant"]
    if as_json:
        print_json(found)
    else:
        _print(console(), found, image, everything=everything)


def _print(out: Console, why: Why, image: tuple[int, ...], *, everything: bool) -> None:
    ordered = sorted(why.layers, key=lambda pair: -pair.excess_ns)
    chosen = why.layers if everything else ordered[:MOST]
    columns = ("layer", "base us", "us", "MACs", "more us", "channels", "layout", "would regain it")
    shown = table(*columns, right=columns[1:5], whole=("channels", "layout"))
    for pair in chosen:
        style = "yellow" if pair.lost_layout else "dim" if pair.variant is None else ""
        shown.add_row(*_row(pair), style=style)
    out.print(shown)
    if len(chosen) < len(why.layers):
        out.print(f"{len(why.layers) - len(chosen)} more layers with --all", style="dim")
    for sentence in why.sentences:
        out.print(sentence, soft_wrap=True)
    out.print(
        f"{why.runtime}, {why.threads} thread{'s' * (why.threads > 1)}, batch {why.batch_size} of {text_of(image)}. "
        "Profiled runs are slower than timed ones: for the latency itself, layerprune measure.",
        style="dim",
        soft_wrap=True,
    )


def _row(pair: LayerPair) -> list[str]:
    from workers.tasks.why import short_name

    variant = pair.variant
    gone = "gone" if variant is None else ""
    return [
        short_name(pair.name),
        _us(pair.base),
        _us(variant) or gone,
        "" if variant is None else count(variant.macs),
        "" if variant is None else f"{pair.excess_ns / 1e3:+.0f}",
        "" if variant is None else f"{variant.in_channels} > {variant.out_channels}",
        _layouts(pair),
        "; ".join(f"{' or '.join(map(str, counts))} {name[:-9]}" for name, counts in pair.regain.items()),
    ]


def _us(side: LayerSide | None) -> str:
    if side is None:
        return ""
    return "folded" if side.ns is None else f"{side.ns / 1e3:.0f}"


def _layouts(pair: LayerPair) -> str:
    layouts = [side.layout for side in (pair.base, pair.variant) if side is not None]
    return " > ".join(dict.fromkeys(layouts))
