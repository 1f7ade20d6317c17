"""The `score` command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ..api.errors import BadInput
from .given import Args, Classes, DataRoot, Given, Images, Model, PreprocessFile, Seed, Size, Weights
from .layers import Finer, WidthChanging, removable
from .material import Work, opened
from .options import Json
from .output import console, print_json, table

if TYPE_CHECKING:
    from ..api.tasks import LayerInfo
    from ..criteria.observation import Scores
    from ..structure.layers import Layer

CRITERIA = "weight_l1,imprinting,block_influence,random"
_BATCH = 64
_BAR = 8
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def score(
    model: Model,
    data: Images = None,
    criteria: Annotated[
        str, typer.Option(help="Names, separated by commas; layerprune criteria lists them.")
    ] = CRITERIA,
    draw: Annotated[Path | None, typer.Option(help="Draw the scores: a file that ends in .svg or .html.")] = None,
    weights: Weights = None,
    width_changing: WidthChanging = False,
    finer: Finer = False,
    layer_score: Annotated[
        str, typer.Option(help="mean, as in the paper, or normalised, free of the layers' widths.")
    ] = "mean",
    size: Size = None,
    classes: Classes = None,
    args: Args = None,
    preprocess: PreprocessFile = None,
    data_root: DataRoot = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Say how important each removable layer is, by one criterion or several; higher is more important.

    Example: `layerprune score cifar:resnet20 --data digits --criteria weight_l1,imprinting --draw scores.svg`
    """
    from ..api.pruning import PruningSpec
    from ..api.tasks import LayerInfo
    from .drawing import check_drawing, write_drawing
    from .requests import names, parsed

    if draw is not None:
        check_drawing(draw)
    asked = list(dict.fromkeys(names(criteria) or []))
    spec = parsed(PruningSpec, {"criteria": asked, "layer_score": layer_score})
    with opened(Given(model, data, weights, classes, args or (), size, preprocess, data_root)) as work:
        candidates = removable(work, width_changing=width_changing, finer=finer)
        need_layers(work, candidates)
        found = score_layers(work, candidates, asked, seed=seed, layer_score=spec.layer_score)
        notes = work.notes + random_note(work)
    rows = [
        LayerInfo(
            name=layer.name,
            kind=layer.kind,
            params=max(0, layer.params),
            macs=max(0, layer.macs),
            scores={name: found.layers[name][layer.name] for name in asked},
        )
        for layer in candidates
    ]
    if draw is not None:
        write_drawing(draw, f"{model}: importance of its layers", rows)
    if as_json:
        print_json(rows)
        return
    _print(rows, asked)
    for note in [*notes, *([f"Drawn in {draw}."] if draw is not None else [])]:
        console().print(note, soft_wrap=True)


def score_layers(
    work: Work, layers: Sequence[Layer], names: Sequence[str], *, seed: int, layer_score: str = "mean"
) -> Scores:
    """Score the layers, and filters where a criterion has that form, on the calibration images. Raises BadInput."""
    from ..criteria import get
    from ..criteria.base import ScoringContext
    from ..criteria.observation import score_all
    from .progress import bar

    hungry = [name for name in names if get(name).needs_data]
    material = work.images(f"the criterion {hungry[0]}") if hungry else work.material
    context = ScoringContext(
        graph=work.graph,
        layers=layers,
        batches=material.calibration.batches(_BATCH) if material is not None else [],
        classes=work.classes,
        seed=seed,
        layer_score="normalised" if layer_score == "normalised" else "mean",
    )
    with bar(f"scoring by {', '.join(names)}"):
        return score_all(names, context)


def need_layers(work: Work, candidates: Sequence[Layer]) -> None:
    """Raise BadInput, with the reason, if no layer can go."""
    from ..structure.reasons import why_the_rest_stays

    if not candidates:
        raise BadInput(
            f"{work.given.model}: {why_the_rest_stays(work.graph, candidates)}",
            field="model",
            value=work.given.model,
            code="target_unreachable",
            remedy="Try --finer or --width-changing, prune filters (plan --method filter), or use another network.",
        )


def random_note(work: Work) -> list[str]:
    """A warning where scores and accuracies mean little."""
    return [] if work.is_trained else ["The network has random weights; give trained ones: --weights."]


def _print(rows: Sequence[LayerInfo], names: Sequence[str]) -> None:
    shown = table("layer", "kind", *names)
    largest = {name: max(abs(row.scores[name]) for row in rows) for name in names}
    for row in rows:
        cells = [_cell(row.scores[name], largest[name]) for name in names]
        shown.add_row(row.name, row.kind, *cells)
    console().print(shown)


def _cell(value: float, largest: float) -> Text:
    """The number and a bar of up to eight characters; negative scores have none."""
    eighths = round(8 * _BAR * max(0.0, value) / largest) if largest else 0
    full, part = divmod(eighths, 8)
    drawn = "█" * full + (_EIGHTHS[part] if part else "")
    return Text.assemble(f"{value:10.4g} ", (drawn.ljust(_BAR), "cyan"))
