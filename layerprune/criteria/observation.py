"""One pass over the calibration data for all criteria together."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from layerprune.api.errors import BadInput
from layerprune.structure import operations
from layerprune.structure.trace import evaluating

from . import create, get
from .base import Criterion, ScoringContext, Seen
from .forward import Forward
from .out_of_place import out_of_place

_MEMORY_BYTES = 2 << 30
"""What the values and gradients of one group of images may take in main memory; on a GPU it is half of what is free."""


@dataclass(frozen=True)
class Scores:
    """Scores by criterion: per layer, and per unit and filter (float32 C_out, on the CPU) where there is that form.

    Filters are found by the name of the convolution or linear layer whose output channels they are.
    """

    layers: dict[str, dict[str, float]]
    filters: dict[str, dict[str, Tensor]]


def score_all(names: Sequence[str], context: ScoringContext, *, checkpoint: Callable[[], None] | None = None) -> Scores:
    """Compute every named criterion in one pass over the data; the network is left as it was.

    One forward pass serves all, one backward pass those that need gradients; criteria that bypass layers rerun what is
    behind each. ``checkpoint`` is called before every group of images. Memory is bounded: batches are cut into groups
    whose values fit 2 GiB (on a GPU, half of what is free); gradients of weights come on top where they are asked for.
    Raises UnknownName, and BadInput for weights or losses that are no numbers, labels out of range, and criteria that
    do not apply.
    """
    requested = [get(name) for name in dict.fromkeys(names)]
    criteria = {info.name: create(info.name, context) for info in requested}
    rests_on = {name: criterion.rests_on(requested) for name, criterion in criteria.items()}
    for name in dict.fromkeys(member for members in rests_on.values() for member in members):
        criteria.setdefault(name, create(name, context))
    _need_finite_weights(context.graph)
    observe(context, [criterion for criterion in criteria.values() if criterion.needs], checkpoint=checkpoint)
    layers: dict[str, dict[str, float]] = {}
    for name in sorted(criteria, key=lambda name: bool(rests_on.get(name))):  # first those that rest on none
        layers[name] = criteria[name].layer_scores({other: layers[other] for other in rests_on.get(name, ())})
        _need_finite_scores(name, layers[name])
    forms = {info.name: criteria[info.name].filter_scores() for info in requested}
    return Scores(
        layers={info.name: layers[info.name] for info in requested},
        filters={name: scores for name, scores in forms.items() if scores is not None},
    )


def observe(
    context: ScoringContext, criteria: Sequence[Criterion], *, checkpoint: Callable[[], None] | None = None
) -> None:
    """Show every calibration image once to all criteria; see ``score_all``."""
    if not criteria:
        return
    needs = [criterion.needs for criterion in criteria]
    leaves = sorted({name for need in needs for name in need.gradients})
    weights = sorted({name for need in needs for name in need.weights})
    backward = bool(leaves or weights)
    forward = Forward(
        out_of_place(context.graph),
        values={name for need in needs for name in need.values},
        gradients=leaves,
        bypassed=context.layers if any(need.detours for need in needs) else (),
    )
    parameters = dict(context.graph.named_parameters())
    device = next(context.graph.parameters()).device
    limit = _group_size(context.graph, device, backward=backward)
    with evaluating(context.graph), _differentiable(parameters, weights):
        for group in _groups(context, limit, split=any(need.split for need in needs)):
            if checkpoint is not None:
                checkpoint()
            images, labels = group.images.to(device), group.labels.to(device)
            with torch.set_grad_enabled(backward):
                answer = forward.look(images)
                _need_labels_in_range(labels, answer.logits.shape[1])
                loss = F.cross_entropy(answer.logits, labels, reduction="sum")
            _need_finite_loss(float(loss.detach()))
            slopes: list[Tensor] = []
            if backward:
                inputs = [*(forward.values[name] for name in leaves), *(parameters[name] for name in weights)]
                found = torch.autograd.grad(loss, inputs, allow_unused=True)
                slopes = [torch.zeros_like(i) if g is None else g for i, g in zip(inputs, found, strict=True)]
            seen = Seen(
                labels=labels,
                answer=answer,
                values=forward.values,
                gradients=dict(zip(leaves, slopes[: len(leaves)], strict=True)),
                weight_gradients=dict(zip(weights, slopes[len(leaves) :], strict=True)),
                without=forward.without,
                held_out=group.held_out,
                drawn=group.drawn,
            )
            with torch.no_grad():
                for criterion in criteria:
                    criterion.see(seen)


@dataclass(frozen=True)
class _Group:
    images: Tensor
    labels: Tensor
    held_out: bool
    drawn: Tensor


def _groups(context: ScoringContext, limit: int, *, split: bool) -> Iterator[_Group]:
    """All images in groups of at most ``limit``; with ``split`` the held-out ones last."""
    empty = True
    for half in (False, True) if split else (False,):
        start = 0
        for images, labels in context.batches:
            chosen = torch.arange(start, start + len(labels))
            start += len(labels)
            drawn = torch.zeros(len(labels), dtype=torch.bool)
            if split:
                mine = context.content.held_out[chosen] == half
                drawn = context.content.drawn[chosen][mine]
                images, labels = images[mine], labels[mine]
            for at in range(0, len(labels), limit):
                part = slice(at, at + limit)
                empty = False
                yield _Group(images[part], labels[part], half, drawn[part])
    if empty:
        raise BadInput("there are no calibration images", field="dataset", remedy="Use a larger data set.")


def _group_size(graph: fx.GraphModule, device: torch.device, *, backward: bool) -> int:
    shapes = [node.meta["tensor_meta"].shape for node in graph.graph.nodes if operations.is_tensor(node)]
    # Backward, the gradients at the gates and their products with the values come on top of the values.
    per_image = sum(map(math.prod, shapes)) * 4 * (2 if backward else 1)
    available = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else _MEMORY_BYTES
    return max(1, available // max(1, per_image))


@contextmanager
def _differentiable(parameters: Mapping[str, nn.Parameter], wanted: Collection[str]) -> Iterator[None]:
    """Let gradients flow to the wanted parameters alone for a while, so that nothing is kept for the others."""
    before = {name: parameter.requires_grad for name, parameter in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in wanted)
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(before[name])


def _need_finite_weights(graph: fx.GraphModule) -> None:
    for name, tensor in graph.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BadInput(
                f"{name} of the network holds {int((~torch.isfinite(tensor)).sum())} values that are no finite numbers",
                field="model",
                value=name,
                remedy="Check the weights; a training that diverged leaves such values.",
            )


def _need_finite_loss(loss: float) -> None:
    if not math.isfinite(loss):
        raise BadInput(
            f"the loss on the calibration images is {loss}",
            field="model",
            value=str(loss),
            remedy="Check the weights and the preprocessing (mean, std): the network's answers overflow.",
        )


def _need_labels_in_range(labels: Tensor, classes: int) -> None:
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise BadInput(
            f"a calibration image has the label {int(wrong[0])}, the network tells {classes} classes apart",
            field="dataset",
            value=int(wrong[0]),
            remedy="Use a data set and a network with the same classes.",
        )


def _need_finite_scores(criterion: str, scores: Mapping[str, float]) -> None:
    for layer, score in scores.items():
        if not math.isfinite(score):
            raise BadInput(
                f"{criterion} gives the layer {layer} the score {score}",
                field="pruning.criteria",
                value=criterion,
                remedy="Leave this criterion out, or check the weights: values inside the network overflow.",
            )
