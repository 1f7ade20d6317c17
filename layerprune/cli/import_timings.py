"""The `import-timings` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Data, Json, Url, connect
from .output import console, print_json

Text = str | None


def import_timings(
    file: Annotated[Path, typer.Argument(help="What the other tool wrote.", exists=True, dir_okay=False)],
    device: Annotated[str, typer.Option(help="Where it was measured, in your words.")],
    model: Annotated[str, typer.Option(help="What was measured, in your words.")],
    format: Annotated[
        Text,
        typer.Option(
            help="trtexec, trtexec-times, onnxruntime, onnxruntime-profile or ai-hub.  [default: found out]",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[Text, typer.Option(help="Such as fp16.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images in one inference.")] = None,
    note: Annotated[str, typer.Option(help="Anything worth knowing about it.")] = "",
    url: Url = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Keep what trtexec, onnxruntime_perf_test or Qualcomm AI Hub measured: shown as not verified, never ranked.

    Example: `layerprune import-timings times.json --device "Orin Nano, 15 W" --model "resnet50, fp16"`
    """
    with connect(url, data) as client:
        row = client.import_timings(
            file, device=device, model=model, format=format, precision=precision, batch_size=batch, note=note
        )
    if as_json:
        print_json(row)
        return
    out = console()
    runs = f" over {row.n_samples} runs" if row.n_samples else ""
    out.print(f"{row.model} on {row.device}, by {row.tool}: p50 {row.p50_ns / 1e6:.3f} ms{runs}", soft_wrap=True)
    out.print("It stands below the leaderboard, as not verified; it is never ranked.", style="dim", soft_wrap=True)
