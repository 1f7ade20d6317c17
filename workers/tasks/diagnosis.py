"""Why a base is not as accurate as its owner expects: the mistakes that are usually made, tried on a few images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from layerprune.api.network import Preprocess
from layerprune.data.material import Material
from layerprune.data.preprocess import fit, normalise
from layerprune.evaluate import logits

_IMAGES = 512
_SLACK = 0.02
_GAIN = 0.02
"""An explanation has to be better than what was asked for by this much."""


@dataclass(frozen=True)
class _Trial:
    accuracy: float
    cause: str


def likely_cause(model: nn.Module, material: Material, *, expected: float) -> str | None:
    """Name the mistake without which the model would be as accurate as expected, or None.

    Looks at up to 512 test images; each trial has to come within two standard errors (at least 2 points) of what is
    expected, and the nearest is named.
    """
    chosen = torch.randperm(len(material.test), generator=torch.Generator().manual_seed(0))[:_IMAGES]
    labels = material.test.labels[chosen]
    answers = logits(model, normalise(material.test.pixels(chosen), material.preprocess))
    now = _accuracy(answers, labels)
    allowed = max(_SLACK, 2 * math.sqrt(expected * (1 - expected) / len(chosen)))
    trials = [_reordered(answers, labels)]
    for cause, images in _otherwise(material, chosen):
        trials.append(_Trial(_accuracy(logits(model, images), labels), cause))
    hits = [each for each in trials if abs(each.accuracy - expected) <= allowed and each.accuracy >= now + _GAIN]
    best = min(hits, key=lambda each: abs(each.accuracy - expected), default=None)
    if best is None:
        return None
    return f"with {best.cause} it would reach {best.accuracy:.1%} on {len(chosen)} of these images"


def _otherwise(material: Material, chosen: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The images as other pipelines would have prepared them."""
    own = material.preprocess
    pixels = material.test.pixels(chosen)
    if own.channels == 3 and pixels.shape[1] == 3:
        yield "the channels in the order blue, green, red", normalise(pixels.flip(1), own)
    for cause, shift, scale in (
        ("pixels of 0 to 1 that are not normalised (mean 0, std 1)", 0.0, 1.0),
        ("pixels of 0 to 255 (mean 0, std 1/255)", 0.0, 1 / 255),
        ("pixels of -1 to 1 (mean 0.5, std 0.5)", 0.5, 0.5),
    ):
        yield cause, normalise(pixels, _with(own, [shift] * own.channels, [scale] * own.channels))
    if own.channels == 3:
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        yield "ImageNet's mean and std", normalise(pixels, _with(own, mean, std))
    if own.resize is None:
        other = own.model_copy(update={"resize": round(own.size / 0.875)})
        yield "the centre cut out after resizing (crop 0.875)", _refitted(material, chosen, other)
        other = own.model_copy(update={"resize": own.size})
        yield "the shorter edge resized and the centre cut out", _refitted(material, chosen, other)
    else:
        other = own.model_copy(update={"resize": None})
        yield "the whole image squashed to the size instead of cropped", _refitted(material, chosen, other)


def _with(preprocess: Preprocess, mean: list[float], std: list[float]) -> Preprocess:
    return preprocess.model_copy(update={"mean": mean, "std": std})


def _refitted(material: Material, chosen: Tensor, preprocess: Preprocess) -> Tensor:
    split = material.dataset.test
    fitted = [fit(split.source.image(position), preprocess) for position in split.positions[chosen.numpy()].tolist()]
    colours = max(pixels.shape[2] for pixels in fitted)
    stacked = np.stack([np.broadcast_to(pixels, (*pixels.shape[:2], colours)) for pixels in fitted])
    return normalise(torch.from_numpy(np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))), preprocess)


def _reordered(answers: Tensor, labels: Tensor) -> _Trial:
    """The accuracy under the order of the classes that fits best: the assignment of outputs to labels."""
    from scipy.optimize import linear_sum_assignment

    classes = answers.shape[1]
    agreement = np.zeros((classes, classes), np.int64)
    np.add.at(agreement, (answers.argmax(1).numpy(), labels.numpy()), 1)
    rows, columns = linear_sum_assignment(agreement, maximize=True)
    accuracy = float(agreement[rows, columns].sum()) / len(labels)
    return _Trial(accuracy, "the classes in another order (preprocess.classes names the network's)")


def _accuracy(answers: Tensor, labels: Tensor) -> float:
    return float((answers.argmax(1) == labels).float().mean())
