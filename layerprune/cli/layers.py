"""The `layers` command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..api.wire import Count, Wire
from .given import Args, Classes, Given, Model, Size
from .material import Work, opened
from .options import Json
from .output import console, count, print_json, table

if TYPE_CHECKING:
    from ..api.pruning import LayerOptions
    from ..structure.layers import Layer

WidthChanging = Annotated[
    bool,
    typer.Option("--width-changing", help="Also convolutions that change the width (VGG); what follows is rebuilt."),
]
Finer = Annotated[
    bool,
    typer.Option("--finer", help="Also nested layers, squeeze-excite units, lone depthwise convolutions and linears."),
]


class LayerRow(Wire):
    """A layer, or a weighted operation in none; `why` says why it is not removable, `inside` which layer it is in."""

    name: str
    kind: str
    params: Count
    macs: Count
    removable: bool
    why: str | None
    inside: str | None


def layers(
    model: Model,
    width_changing: WidthChanging = False,
    finer: Finer = False,
    size: Size = None,
    classes: Classes = None,
    args: Args = None,
    as_json: Json = False,
) -> None:
    """List a network's layers, and which of them can go.

    Example: `layerprune layers timm:resnet50`
    """
    from ..structure.reasons import why_the_rest_stays

    with opened(Given(model, size=size, classes=classes, args=args or ())) as work:
        candidates = removable(work, width_changing=width_changing, finer=finer)
        rows = list_rows(work, candidates, width_changing=width_changing)
        sentence = why_the_rest_stays(work.graph, candidates)
        notes = work.notes
    if as_json:
        print_json(rows)
    else:
        shown = table("layer", "kind", "parameters", "MACs", "removable", right=("parameters", "MACs"))
        for row in rows:
            shown.add_row(row.name, row.kind, count(row.params), count(row.macs), "yes" if row.removable else row.why)
        console().print(shown)
    out = console(stderr=as_json)
    if not as_json or not candidates:
        for line in [*notes, sentence[0].upper() + sentence[1:] + "."]:
            out.print(line, soft_wrap=True)


def removable(work: Work, *, width_changing: bool, finer: bool) -> list[Layer]:
    """The layers that may go under these options."""
    from ..structure.layers import candidates_of, find_layers

    return candidates_of(
        find_layers(work.graph, width_changing=width_changing),
        layer_options(width_changing=width_changing, finer=finer),
    )


def layer_options(*, width_changing: bool, finer: bool) -> LayerOptions:
    """The options as a job has them."""
    from ..api.pruning import LayerOptions

    return LayerOptions(width_changing=width_changing, finer_kinds=finer)


def list_rows(work: Work, candidates: list[Layer], *, width_changing: bool) -> list[LayerRow]:
    """Every layer in forward order, and every weighted operation that is in none.

    What can go only on request is left out inside a layer that goes, so that nothing is counted twice.
    """
    from ..structure import operations
    from ..structure.layers import find_layers

    nodes = {node.name: place for place, node in enumerate(work.graph.graph.nodes)}
    chosen = {layer.name for layer in candidates}
    found: list[tuple[int, LayerRow]] = []
    covered: set[str] = set()
    for layer in find_layers(work.graph, width_changing=True):
        goes = layer.name in chosen
        if not goes and covered.issuperset(layer.nodes):
            continue
        if layer.rebuilds is not None and not (width_changing or goes):
            why = "changes the width: --width-changing"
        else:
            why = "finer than a layer: --finer"
        row = LayerRow(
            name=layer.name,
            kind=layer.kind,
            params=max(0, layer.params),
            macs=max(0, layer.macs),
            removable=goes,
            why=None if goes else why,
            inside=layer.parent,
        )
        found.append((min(nodes[name] for name in layer.nodes), row))
        covered |= set(layer.nodes)
    answering = operations.answering(work.graph.graph)
    for node in work.graph.graph.nodes:
        if operations.is_weighted(node) and node.name not in covered:
            why = "computes the answer" if node in answering else "it, or the block around it, changes the shape"
            row = LayerRow(
                name=".".join(operations.path(node)),
                kind=operations.bare_kind(node),
                params=sum(parameter.numel() for parameter in operations.parameters(node)),
                macs=int(node.meta["macs"]),
                removable=False,
                why=why,
                inside=None,
            )
            found.append((nodes[node.name], row))
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]
