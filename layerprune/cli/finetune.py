"""The `finetune` command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..api.training import Accuracies, EpochRecord
from ..api.wire import Wire
from .evaluate import accuracy_text
from .given import Args, Classes, DataRoot, Given, Images, Model, PlanFile, PreprocessFile, Seed, Weights
from .material import Work, opened
from .network_files import CHECKED_IMAGES, Cost, check_outputs, cost_of, write_network
from .options import Json
from .output import console, print_json
from .prune import Outputs, print_costs

if TYPE_CHECKING:
    from torch import fx

    from ..api.training import TrainingSpec
    from ..data.material import Material


class FinetuneReport(Wire):
    """What came out of the training; accuracies are on the test images."""

    model: str
    plan_hash: str | None
    before: Cost
    after: Cost
    test: Accuracies
    curve: list[EpochRecord]
    recipe: dict[str, Any]
    outputs: list[str]
    onnx_difference: float | None
    notes: list[str]


def finetune(
    model: Model,
    data: Images,
    output: Outputs,
    plan: PlanFile = None,
    epochs: Annotated[int, typer.Option(help="Epochs.")] = 5,
    learning_rate: Annotated[float | None, typer.Option(help="[default: by network and origin]")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="[default: by network]")] = None,
    batch_size: Annotated[int, typer.Option(help="Images per step.")] = 64,
    distillation: Annotated[float, typer.Option(help="Weight of the unpruned network's answers in the loss.")] = 0.5,
    weights: Weights = None,
    classes: Classes = None,
    args: Args = None,
    preprocess: PreprocessFile = None,
    data_root: DataRoot = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Train a network, pruned by a plan or as it is; what was pruned also learns from the unpruned network.

    Example: `layerprune finetune cifar:resnet20 --plan plan.json --weights base.safetensors --data digits -o out.onnx`
    """
    from ..api.training import TrainingSpec
    from .requests import compact, parsed

    check_outputs(output)
    spec = parsed(
        TrainingSpec,
        compact(
            {
                "epochs": epochs,
                "learning_rate": learning_rate,
                "weight_decay": weight_decay,
                "batch_size": batch_size,
                "distillation": distillation,
                "seeds": [seed],
            }
        ),
    )
    with opened(Given(model, data, weights, classes, args or (), None, preprocess, data_root), plan) as work:
        material = work.images("training")
        before = cost_of(work.graph, work.example)
        graph = work.pruned()
        moments, curve, recipe = _train(work, graph, material, spec)
        difference = write_network(graph, output, work.example, material.test.first(CHECKED_IMAGES))
        report = FinetuneReport(
            model=model,
            plan_hash=work.plan.hash if work.plan is not None else None,
            before=before,
            after=cost_of(graph, work.example),
            test=moments,
            curve=curve,
            recipe=recipe,
            outputs=[str(path) for path in output],
            onnx_difference=difference,
            notes=work.notes,
        )
    if as_json:
        print_json(report)
    else:
        _print(report)


def _train(
    work: Work, graph: fx.GraphModule, material: Material, spec: TrainingSpec
) -> tuple[Accuracies, list[EpochRecord], dict[str, Any]]:
    """Train the graph in place, as a worker trains a variant; leaves it on the CPU in eval mode."""
    from workers.tasks.training import with_precision

    from .. import models
    from ..evaluate import evaluate
    from ..structure.macs import count
    from ..training.group import ALONE
    from ..training.loop import train_
    from ..training.norms import reestimate_batch_norm_, statistics_batches
    from ..training.recipe import make_recipe
    from .progress import bar

    seed, device = spec.seeds[0], ALONE.device
    teacher = work.model if work.plan is not None and work.is_trained and spec.distillation > 0 else None
    if work.plan is not None and teacher is None and spec.distillation > 0:
        work.notes.append("trained without distillation: the unpruned network's weights are not there to learn from")
    macs = count(graph, material.example)
    graph.to(device)
    pruned: dict[str, Any] = {}
    with bar("training") as report:
        if work.plan is not None and not work.plan.is_empty:
            pruned["after_surgery"] = evaluate(graph, material.test)[0]
            batches = statistics_batches(material.train, batch_size=spec.batch_size, seed=seed, device=device)
            reestimate_batch_norm_(graph, batches)
            pruned["after_reestimation"] = evaluate(graph, material.test)[0]
        recipe = make_recipe(graph, spec, origin=models.origin(work.spec), flip=material.dataset.flip)
        recipe = with_precision(recipe, graph, material.train, spec, macs=macs, epochs=spec.epochs, group=ALONE)
        curve = train_(
            graph,
            material.train,
            recipe,
            epochs=spec.epochs,
            seed=seed,
            validation=material.validation,
            teacher=teacher.to(device) if teacher is not None else None,
            phase="fine-tuning" if work.is_trained else "training",
            on_progress=report,
        )
        final = evaluate(graph, material.test)[0]
    graph.cpu()
    return Accuracies(**pruned, final=final), curve, recipe.describe()


def _print(report: FinetuneReport) -> None:
    out = console()
    print_costs(report.before, report.after)
    for name, found in (
        ("after surgery", report.test.after_surgery),
        ("after re-estimation", report.test.after_reestimation),
        ("after training", report.test.final),
    ):
        if found is not None:
            out.print(f"{name}: {accuracy_text(found)}")
    out.print(f"written: {', '.join(report.outputs)}", soft_wrap=True)
    for note in report.notes:
        out.print(f"Note: {note}", style="dim", soft_wrap=True)
