"""Which image serves what.

The official test set if there is one, else a stratified part of 30 per cent; the rest is 75 / 12.5 / 12.5 per cent
training, calibration (scores are computed on it) and validation (variants are chosen by it), but no more than 10,000
images for each of the two latter. Test images only give the reported figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from layerprune.api.errors import BadInput

from .source import Labels, Source, Split

_SEED = 20200712
_TEST = 0.3
_HELD_OUT = 0.125
_MAX_HELD_OUT = 10_000
_REMEDY = "Give more images of every class: 10 or more, so that each split gets some."


def split(
    classes: Sequence[str],
    source: Source,
    *,
    validation: Source | None = None,
    test: Source | None = None,
    first: int | None = None,
) -> tuple[Split, Split, Split, Split]:
    """Return training, calibration, validation and test, stratified by class; positions ascend in each.

    What is not given is cut out of `source`, of which only the `first` so many images (in stored order, after a test
    part was cut out) are used. Raises BadInput where there are too few images or classes.
    """
    check_labels(classes, source.labels)
    rest = np.arange(len(source.labels))
    if test is None:
        rest, tested = _cut(classes, source.labels, rest, math.ceil(_TEST * len(rest)), "test")
        tested_split = _part(source, tested)
    else:
        tested_split = _whole(test)
    if first is not None:
        rest = np.sort(rest)[:first]
    _check_cover(classes, source.labels, rest)
    if validation is None:
        size = min(math.ceil(2 * _HELD_OUT * len(rest)), 2 * _MAX_HELD_OUT)
        train, held_out = _cut(classes, source.labels, rest, size, "calibration and validation")
        half = math.ceil(0.5 * len(held_out))
        calibration, validated = _cut(classes, source.labels, held_out, half, "validation")
        return _part(source, train), _part(source, calibration), _part(source, validated), tested_split
    size = min(math.ceil(_HELD_OUT * len(rest)), _MAX_HELD_OUT)
    train, calibration = _cut(classes, source.labels, rest, size, "calibration")
    return _part(source, train), _part(source, calibration), _whole(validation), tested_split


def check_labels(classes: Sequence[str], labels: Labels) -> None:
    """Raise BadInput unless there are at least two classes and every one has images."""
    if len(classes) < 2:
        raise BadInput(
            f"the data set has {len(classes)} class{'es' * (not classes)}: {', '.join(classes) or 'no images at all'}",
            field="dataset",
            value=list(classes),
            remedy="Give images of two classes or more, one folder per class or labelled in a column.",
        )
    _check_cover(classes, labels, np.arange(len(labels)))


def _check_cover(classes: Sequence[str], labels: Labels, positions: Labels) -> None:
    counts = np.bincount(labels[positions], minlength=len(classes))
    if len(counts) > len(classes):
        raise BadInput(
            f"the label {len(counts) - 1} is out of range: there are {len(classes)} classes",
            field="dataset",
            value=len(counts) - 1,
            remedy="Number the classes from 0 on, or name all of them in the file's metadata.",
        )
    lacking = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if lacking:
        raise BadInput(
            f"of {len(classes)} classes {len(lacking)} have none of the {len(positions)} training images, "
            f"{lacking[0]!r} first",
            field="dataset",
            value=lacking[0],
            remedy=_REMEDY,
        )


def _part(source: Source, positions: Labels) -> Split:
    return Split(source, np.sort(positions))


def _whole(source: Source) -> Split:
    return Split(source, np.arange(len(source.labels)))


def _cut(classes: Sequence[str], labels: Labels, positions: Labels, size: int, purpose: str) -> tuple[Any, Any]:
    """Take `size` of the positions away, stratified by class: what is left, and what was taken, in no order."""
    from sklearn.model_selection import train_test_split

    counts = np.bincount(labels[positions], minlength=len(classes))
    scarce = int(counts.argmin())
    if counts[scarce] < 2 or size < len(classes) or len(positions) - size < len(classes):
        raise BadInput(
            f"{len(positions)} images of {len(classes)} classes are too few to set {size} aside for {purpose}; "
            f"{classes[scarce]!r} has {counts[scarce]}",
            field="dataset",
            value=len(positions),
            remedy=_REMEDY,
        )
    kept, taken = train_test_split(positions, test_size=size, stratify=labels[positions], random_state=_SEED)
    return kept, taken
