"""Where the batch lies: give it a dimension of its own, and put it back.

A file that was written for one image may fold it into any dimension (the windows of a transformer), put it second
(sequence first) or work along it. With a dimension of its own in front, the batch is out of the way of any operator.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .builder import Builder
from .values import Data, Unsupported


def stack(builder: Builder, value: Data) -> Data:
    """The value with one dimension more, the batch's own, in front; the file would see a leading 1."""
    apart = _apart(builder, value)
    return builder.call(torch.movedim, apart, value.axis, 0, axis=0) if value.axis else apart


def unstack(builder: Builder, value: Data) -> Data:
    """The inverse: the batch is folded into the first dimension of the image. Raises Unsupported."""
    if value.rank < 2:
        raise Unsupported("nothing is left but the batch")
    return builder.call(torch.flatten, value, 0, 1, axis=0)


def move(builder: Builder, value: Data, axis: int) -> Data:
    """The value with the batch folded into another dimension; the file would see the same."""
    if value.axis == axis:
        return value
    apart = _apart(builder, value)
    moved = builder.call(torch.movedim, apart, value.axis, axis, axis=axis)
    return builder.call(torch.flatten, moved, axis, axis + 1, axis=axis)


def along(builder: Builder, value: Data, axes: list[int], work: Callable[[Data, list[int]], Data]) -> Data:
    """Let `work` treat dimensions of every image, also where the batch is folded into one of them."""
    if value.axis not in axes:
        return work(value, axes)
    return unstack(builder, work(stack(builder, value), [axis + 1 for axis in axes]))


def _apart(builder: Builder, value: Data) -> Data:
    """The value with its batch in a dimension of its own, before the one that it was folded into."""
    return builder.call(torch.unflatten, value, value.axis, (-1, value.per_image), axis=value.axis)
