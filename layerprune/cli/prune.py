"""The `prune` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..api.wire import Wire
from .given import Args, Classes, DataRoot, Given, Model, PreprocessFile, Seed, Size, Weights
from .material import opened
from .network_files import CHECKED_IMAGES, Cost, check_outputs, cost_of, write_network
from .options import Json
from .output import console, count, print_json

Outputs = Annotated[
    list[Path], typer.Option("--output", "-o", help="File to write: .onnx or .safetensors; may be repeated.")
]
_BATCH = 64


class PruneReport(Wire):
    """What was pruned and written; `onnx_difference` is relative to the largest logit."""

    model: str
    plan_hash: str
    removed: list[str]
    before: Cost
    after: Cost
    reestimated: bool
    outputs: list[str]
    onnx_difference: float | None
    notes: list[str]


def prune(
    model: Model,
    plan: Annotated[Path, typer.Option("--plan", help="The plan to apply.", exists=True, dir_okay=False)],
    output: Outputs,
    calibrate: Annotated[
        str | None,
        typer.Option(help="Images (as --data elsewhere) on which batch norm's statistics are estimated anew."),
    ] = None,
    weights: Weights = None,
    size: Size = None,
    classes: Classes = None,
    args: Args = None,
    preprocess: PreprocessFile = None,
    data_root: DataRoot = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Apply a plan to a network and write what is left; ONNX Runtime has to agree with PyTorch on it.

    Example: `layerprune prune cifar:resnet20 --plan plan.json --weights w.safetensors --calibrate digits -o out.onnx`
    """
    check_outputs(output)
    given = Given(model, calibrate, weights, classes, args or (), size, preprocess, data_root)
    with opened(given, plan) as work:
        from ..training.norms import reestimate_batch_norm_, statistics_batches
        from .progress import bar

        assert work.plan is not None
        before = cost_of(work.graph, work.example)
        with bar("pruning"):
            graph = work.pruned()
            images = work.example
            if work.material is not None:
                batches = statistics_batches(work.material.train, batch_size=_BATCH, seed=seed)
                reestimate_batch_norm_(graph, batches)
                images = work.material.test.first(CHECKED_IMAGES)
            difference = write_network(graph, output, work.example, images)
        report = PruneReport(
            model=model,
            plan_hash=work.plan.hash,
            removed=list(work.plan.remove),
            before=before,
            after=cost_of(graph, work.example),
            reestimated=work.material is not None,
            outputs=[str(path) for path in output],
            onnx_difference=difference,
            notes=work.notes,
        )
    if as_json:
        print_json(report)
        return
    out = console()
    print_costs(report.before, report.after)
    out.print(f"written: {', '.join(report.outputs)}", soft_wrap=True)
    if difference is not None:
        out.print(f"ONNX Runtime agrees with PyTorch to {difference:.1e} of the largest logit")
    for note in report.notes:
        out.print(f"Note: {note}", style="dim", soft_wrap=True)


def print_costs(before: Cost, after: Cost) -> None:
    """Print parameters and MACs, and what they were before if that is something else."""
    for name, one, other in (("parameters", before.params, after.params), ("MACs", before.macs, after.macs)):
        change = f"{count(one)} -> {count(other)} (-{1 - other / one:.1%})" if one != other else count(one)
        console().print(f"{name} {change}")
