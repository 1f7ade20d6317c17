"""The `import` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..api.errors import BadInput
from ..api.network import Preprocess
from ..api.wire import Wire
from .options import Json
from .output import console, count, print_json

Name = str | None


class ImportReport(Wire):
    """What was written, and what was done to the checkpoint."""

    model: str
    classes: int
    tensors: int
    params: int
    weights: str
    preprocess: Preprocess | None
    """What the network's source states; the data set's own where it says nothing."""
    notes: list[str]


def import_(
    checkpoint: Annotated[Path, typer.Argument(help="A training checkpoint of PyTorch.", exists=True, dir_okay=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The safetensors file to write.")],
    timm: Annotated[Name, typer.Option(help="Network of timm that was trained, such as resnet50.")] = None,
    torchvision: Annotated[Name, typer.Option(help="Network of torchvision that was trained.")] = None,
    model: Annotated[Name, typer.Option(help="Any network by its full name, such as cifar:resnet20.")] = None,
    arg: Annotated[list[str] | None, typer.Option(help="Argument of the network, NAME=VALUE; may be repeated.")] = None,
    classes: Annotated[int | None, typer.Option(help="Classes.  [default: the classifier's]")] = None,
    ema: Annotated[bool, typer.Option(help="Take averaged weights where there are any.")] = True,
    as_json: Json = False,
) -> None:
    """Turn a training checkpoint into weights that can be uploaded, on this machine; nothing in it is run.

    Example: `layerprune import model_best.pth.tar --timm resnet50 -o resnet50.safetensors`
    """
    from safetensors.torch import save_file

    from .. import models
    from ..models.checkpoint import classes_in, fitted, read_checkpoint
    from ..models.weights import check_state
    from .requests import read_argument

    name = _one_name(timm, torchvision, model)
    args = dict(read_argument(text) for text in arg or [])
    found = read_checkpoint(checkpoint, use_average=ema)
    if classes is None:
        classes = classes_in(found, models.build(name, classes=2, args=args))
    network = models.build(name, classes=classes, args=args)
    found = fitted(found, network)
    check_state(network, found.state)
    # Tied weights are written twice: the format knows no views.
    save_file({key: tensor.clone().contiguous() for key, tensor in found.state.items()}, output)
    report = ImportReport(
        model=name,
        classes=classes,
        tensors=len(found.state),
        params=sum(parameter.numel() for parameter in network.parameters()),
        weights=str(output),
        preprocess=models.preprocess_of(name, args),
        notes=list(found.notes),
    )
    if as_json:
        print_json(report)
        return
    out = console()
    for note in report.notes:
        out.print(note)
    out.print(f"{report.weights}: {report.model}, {classes} classes, {count(report.params)} parameters")
    out.print(f"Next: layerprune submit --model {name} --weights {output}", style="dim")


def _one_name(timm: Name, torchvision: Name, model: Name) -> str:
    named = [
        *([f"timm:{timm}"] if timm else []),
        *([f"torchvision:{torchvision}"] if torchvision else []),
        *([model] if model else []),
    ]
    if len(named) != 1:
        raise BadInput(
            f"one network has to be named, {len(named)} are",
            field="model",
            value=named,
            remedy="Give one of --timm NAME, --torchvision NAME and --model SOURCE:NAME.",
        )
    return named[0]
