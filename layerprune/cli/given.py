"""The options by which commands that work without a server are given a network and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    str, typer.Argument(help="timm:NAME, torchvision:NAME, cifar:NAME, a plug-in's name, or an ONNX file.")
]
Images = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="digits, cifar10, cifar100, imagenet; a folder with one folder of images per class, parquet, or a zip.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights", help="Safetensors for the named network; random without. See layerprune import.", exists=True
    ),
]
Classes = Annotated[
    int | None,
    typer.Option("--classes", min=2, help="Outputs of the network.  [default: as the data, else the weights, have]"),
]
Args = Annotated[list[str] | None, typer.Option("--args", help="Argument of the network, NAME=VALUE; may be repeated.")]
Size = Annotated[
    int | None,
    typer.Option("--size", min=8, max=1024, help="Height and width of an image.  [default: the data's or network's]"),
]
PreprocessFile = Annotated[
    Path | None,
    typer.Option("--preprocess", help="JSON file: size, mean, std, ...; as in a job's model.preprocess."),
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", help="Folder below which cifar10, cifar100 or imagenet lie.", file_okay=False),
]
PlanFile = Annotated[Path | None, typer.Option("--plan", help="A plan to apply first.", exists=True, dir_okay=False)]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Decides everything that is random.")]


@dataclass(frozen=True)
class Given:
    """What the command line says about the network and the images."""

    model: str
    data: str | None = None
    weights: Path | None = None
    classes: int | None = None
    args: Sequence[str] = ()
    size: int | None = None
    preprocess: Path | None = None
    data_root: Path | None = None
