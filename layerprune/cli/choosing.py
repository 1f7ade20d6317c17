"""Plans by hand: the layers that are named, the least important ones, or a fraction of the multiplications."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..api.errors import BadInput
from .layers import removable
from .material import Work
from .score import need_layers, score_layers

if TYPE_CHECKING:
    from ..api.pruning import PruningSpec
    from ..api.tasks import Candidate
    from ..structure.plan import Plan


def by_name(work: Work, text: str) -> Plan:
    """The plan that removes the named layers, whatever their kind."""
    from ..structure.architecture import architecture_hash
    from ..structure.layers import find_layers
    from ..structure.plan import Plan
    from .requests import names

    layers = [layer.name for layer in find_layers(work.graph, width_changing=True)]
    if not layers:
        need_layers(work, [])
    asked = names(text) or [""]
    for name in asked:
        if name not in layers:
            near = ", ".join(difflib.get_close_matches(name, layers, n=5, cutoff=0.0))
            raise BadInput(
                f"there is no removable layer {name!r}; the nearest are {near}",
                field="remove",
                value=name,
                remedy=f"Name layers that layerprune layers {work.given.model} lists.",
            )
    chosen = tuple(layer for layer in layers if layer in set(asked))
    return Plan("layer", "by hand", architecture_hash(work.graph), remove=chosen)


def by_count(work: Work, spec: PruningSpec, number: int, seed: int) -> Plan:
    """The plan that removes so many layers, the least important ones."""
    from ..structure.architecture import architecture_hash
    from ..structure.plan import Plan

    layers = removable(work, width_changing=spec.layers.width_changing, finer=spec.layers.finer_kinds)
    need_layers(work, layers)
    if number > len(layers):
        raise BadInput(
            f"{number} layers cannot go: the network has {len(layers)} that can",
            field="count",
            value=number,
            remedy=f"Give at most {len(layers)}, or --finer; layerprune layers {work.given.model} lists them.",
        )
    criterion = spec.criteria[0]
    scores = score_layers(work, layers, [criterion], seed=seed).layers[criterion]
    least = sorted(range(len(layers)), key=lambda place: (scores[layers[place].name], place))[:number]
    chosen = tuple(layers[place].name for place in sorted(least))
    return Plan("layer", criterion, architecture_hash(work.graph), remove=chosen)


def by_amount(work: Work, spec: PruningSpec, seed: int) -> tuple[Plan, list[str]]:
    """The plan nearest to the fraction of the MACs that `spec` names (a hybrid removes at least that), and notes."""
    from ..planning.candidates import enumerate_candidates
    from ..planning.guide import with_guide
    from ..structure.plan import Plan

    layers = removable(work, width_changing=spec.layers.width_changing, finer=spec.layers.finer_kinds)
    if spec.methods == ["layer"]:
        need_layers(work, layers)
    scores = score_layers(work, layers, with_guide(spec), seed=seed)
    if spec.methods == ["hybrid"]:
        from .budget import hybrid_by_amount

        candidates, notes = hybrid_by_amount(work, spec, layers, scores, seed=seed)
    else:
        found = enumerate_candidates(work.graph, work.example, scores.layers, scores.filters, spec)
        candidates, notes = found.candidates, [*found.notes, *(reach.stopped_by for reach in found.reach)]
    if not candidates:
        raise _unreachable(work, spec.methods[0], notes)
    return Plan.from_dict(_own(candidates, spec.criteria[0]).plan), notes if spec.methods == ["hybrid"] else []


def _unreachable(work: Work, method: str, reasons: Sequence[str]) -> BadInput:
    """The error for a goal that no plan of a method reaches."""
    return BadInput(
        f"nothing of {work.given.model} can go by the method {method}: {'; '.join(dict.fromkeys(reasons))}",
        field="method",
        value=method,
        code="target_unreachable",
        remedy="Use another method, a smaller --alignment or --min-channels, or ask for less.",
    )


def _own(candidates: Sequence[Candidate], criterion: str) -> Candidate:
    """The candidate by the criterion that was asked for; another one where its costs do not add up."""
    return next((one for one in candidates if one.criterion == criterion), candidates[0])
