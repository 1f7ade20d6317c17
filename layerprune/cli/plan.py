"""The `plan` command."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..api.errors import BadInput
from ..api.wire import Wire
from .choosing import by_amount, by_count, by_name
from .given import Args, Classes, DataRoot, Given, Images, Model, PreprocessFile, Seed, Size, Weights
from .layers import Finer, WidthChanging, layer_options
from .material import Work, opened
from .network_files import Cost, check_folder
from .options import Json
from .output import console, count, print_json
from .score import random_note

if TYPE_CHECKING:
    from ..structure.plan import Plan

CRITERION = "weight_l1"


class PruningMethod(str, Enum):
    """What goes: whole layers, filters, or both."""

    layer = "layer"
    filter = "filter"
    hybrid = "hybrid"


class Scope(str, Enum):
    """Whether every group of filters loses the same fraction."""

    uniform = "uniform"
    everywhere = "global"


class PlanReport(Wire):
    """What was planned; the plan itself is in the file. `ratio` is the measured latency over the base's."""

    plan: dict[str, Any]
    plan_hash: str
    file: str
    removed: list[str]
    before: Cost
    after: Cost
    amount: float
    ratio: float | None
    notes: list[str]


def plan(
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON file to write.")],
    method: Annotated[PruningMethod, typer.Option(help="What goes: layers, filters, or both.")] = PruningMethod.layer,
    criterion: Annotated[str, typer.Option(help="By what they are chosen; see layerprune criteria.")] = CRITERION,
    remove: Annotated[str | None, typer.Option(help="Names of the layers that go, separated by commas.")] = None,
    number: Annotated[int | None, typer.Option("--count", min=1, help="So many layers go.")] = None,
    amount: Annotated[float | None, typer.Option(help="Fraction of the network's MACs that goes.")] = None,
    ratio: Annotated[float | None, typer.Option(help="Latency to reach, over the network's; with --measure.")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Time the network on this machine, here and now.")] = False,
    alignment: Annotated[int, typer.Option(min=1, max=256, help="Filters: widths are multiples of this.")] = 16,
    scope: Annotated[Scope, typer.Option(help="Filters: the same fraction everywhere, or not.")] = Scope.uniform,
    min_channels: Annotated[int, typer.Option(min=1, help="Filters: no layer keeps fewer.")] = 4,
    threads: Annotated[int, typer.Option(min=1, help="Threads of ONNX Runtime when it is timed.")] = 1,
    data: Images = None,
    weights: Weights = None,
    width_changing: WidthChanging = False,
    finer: Finer = False,
    size: Size = None,
    classes: Classes = None,
    args: Args = None,
    preprocess: PreprocessFile = None,
    data_root: DataRoot = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Choose what goes and write it down as a plan; nothing is pruned yet.

    Examples:

    `layerprune plan cifar:resnet20 --count 3 --criterion block_influence --data digits -o plan.json`

    `layerprune plan cifar:resnet20 --method hybrid --ratio 0.6 --measure --data digits -o plan.json`
    """
    from ..api.pruning import PruningSpec
    from .requests import compact, parsed

    _check_goal(method, remove=remove, number=number, amount=amount, ratio=ratio, measure=measure)
    _check_criterion(method, criterion)
    check_folder(output)
    spec = parsed(
        PruningSpec,
        compact(
            {
                "methods": [method.value],
                "criteria": [criterion],
                "amounts": [amount] if amount is not None else None,
                "targets": [{"ratio": ratio}] if ratio is not None else None,
                "layers": layer_options(width_changing=width_changing, finer=finer).model_dump(),
                "filters": {"alignments": [alignment], "scopes": [scope.value], "min_channels": min_channels},
            }
        ),
    )
    with opened(Given(model, data, weights, classes, args or (), size, preprocess, data_root)) as work:
        measured: float | None = None
        notes: list[str] = []
        if remove is not None:
            made = by_name(work, remove)
        elif number is not None:
            made = by_count(work, spec, number, seed)
        elif amount is not None:
            made, notes = by_amount(work, spec, seed)
        else:
            from .budget import by_ratio

            made, measured, notes = by_ratio(work, spec, seed=seed, threads=threads)
        report = _write(work, made, output, measured, [*work.notes, *notes])
        if remove is None:
            report.notes.extend(random_note(work))
    if as_json:
        print_json(report)
    else:
        _print(report)


def _check_goal(
    method: PruningMethod,
    *,
    remove: str | None,
    number: int | None,
    amount: float | None,
    ratio: float | None,
    measure: bool,
) -> None:
    goals = {"--remove": remove, "--count": number, "--amount": amount, "--ratio": ratio}
    given = {name: value for name, value in goals.items() if value is not None}
    if len(given) != 1:
        raise BadInput(
            f"one goal has to be given, {len(given)} are: {', '.join(given) or 'none of them'}",
            field="goal",
            value=list(given),
            remedy="Give one of --remove NAMES, --count N, --amount FRACTION (of MACs), --ratio R --measure (latency).",
        )
    name, value = next(iter(given.items()))
    if name in ("--remove", "--count") and method is not PruningMethod.layer:
        raise BadInput(
            f"{name} counts layers, and the method is {method.value}",
            field=name.lstrip("-"),
            value=value,
            remedy="Give --amount FRACTION, or --ratio R --measure.",
        )
    if (name == "--ratio") != measure:
        raise BadInput(
            "a latency ratio has to be measured" if not measure else f"--measure has no use for {name}",
            field="measure",
            value=measure,
            remedy="Give --ratio and --measure together; without measuring, give --amount (a fraction of the MACs).",
        )


def _check_criterion(method: PruningMethod, criterion: str) -> None:
    from ..criteria import get, list_criteria

    if method is PruningMethod.filter and not get(criterion).has_filter_form:
        able = ", ".join(info.name for info in list_criteria() if info.has_filter_form)
        raise BadInput(
            f"{criterion} scores layers, not filters",
            field="criterion",
            value=criterion,
            remedy=f"Use --method layer, or one of {able}.",
        )


def _write(work: Work, made: Plan, output: Path, measured: float | None, notes: Sequence[str]) -> PlanReport:
    from ..structure.architecture import outline
    from ..structure.macs import count_params

    made = dataclasses.replace(made, outline=outline(work.graph))
    work.plan = made
    pruned = work.pruned()
    before, after = (
        Cost(params=count_params(graph), macs=sum(int(node.meta["macs"]) for node in graph.graph.nodes))
        for graph in (work.graph, pruned)
    )
    output.write_text(json.dumps(made.to_dict(), indent=1) + "\n", encoding="utf-8")
    return PlanReport(
        plan=made.to_dict(),
        plan_hash=made.hash,
        file=str(output),
        removed=list(made.remove),
        before=before,
        after=after,
        amount=1 - after.macs / before.macs if before.macs else 0.0,
        ratio=measured,
        notes=list(notes),
    )


def _print(report: PlanReport) -> None:
    out = console()
    gone = sum(len(channels) for _, channels in report.plan["prune"])
    what = []
    if report.removed:
        plural = "s" * (len(report.removed) > 1)
        what.append(f"{len(report.removed)} layer{plural} ({', '.join(report.removed)})")
    if gone:
        groups = len(report.plan["prune"])
        what.append(f"{gone} channels in {groups} group{'s' * (groups > 1)}")
    out.print(f"{report.file}: without {' and '.join(what)}", soft_wrap=True)
    out.print(f"parameters {count(report.before.params)} -> {count(report.after.params)}, ", end="")
    out.print(f"MACs {count(report.before.macs)} -> {count(report.after.macs)} (-{report.amount:.1%})")
    if report.ratio is not None:
        out.print(f"latency, measured here and untrained: {report.ratio:.3f} of the network's")
    for note in report.notes:
        out.print(f"Note: {note}", style="dim", soft_wrap=True)
