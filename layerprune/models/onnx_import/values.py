"""What flows through a graph that is being rebuilt, and one of its nodes.

Every value either is known already (a `Constant`) or depends on the images (`Data`). The file is read at batch 1, as
many exporters fixed it; `Data` therefore knows along which dimension its batch lies, and nothing emitted may depend on
its length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray
from torch import Tensor, fx

BATCH = 2
"""Images in the samples by which shapes are followed."""


class Unsupported(Exception):
    """A node that cannot be rebuilt; the message says why, and is empty where the operator is unknown altogether."""


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that does not depend on the images; `name` is how the file calls it."""

    array: NDArray[Any]
    name: str
    is_weight: bool = False
    """Whether it is to be trained, by the part that it plays: see `elementwise.as_weight`."""


@dataclass(frozen=True, eq=False)
class Data:
    """A tensor that depends on the images: what computes it, an example of `BATCH` images, and where the batch lies."""

    node: fx.Node
    sample: Tensor
    axis: int

    @property
    def rank(self) -> int:
        return self.sample.ndim

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape for one image, as the file sees it."""
        sizes = list(self.sample.shape)
        sizes[self.axis] //= BATCH
        return tuple(sizes)

    @property
    def per_image(self) -> int:
        """How many entries of the batch dimension belong to one image (windows, for instance)."""
        return int(self.sample.shape[self.axis]) // BATCH


Operand = Constant | Data


@dataclass(frozen=True)
class Node:
    """One node of the file with its operands resolved; optional operands that are left out are None."""

    proto: onnx.NodeProto
    operands: Sequence[Operand | None]
    opset: int

    @property
    def op(self) -> str:
        return self.proto.op_type

    def attribute(self, name: str, default: Any = None) -> Any:
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def operand(self, index: int) -> Operand | None:
        return self.operands[index] if index < len(self.operands) else None

    def data(self, index: int = 0) -> Data:
        """The operand, which has to depend on the images. Raises Unsupported."""
        value = self.operand(index)
        if not isinstance(value, Data):
            raise Unsupported(f"operand {index} does not depend on the input")
        return value

    def constant(self, index: int) -> Constant | None:
        """The operand, which may be left out but must not depend on the images. Raises Unsupported."""
        value = self.operand(index)
        if isinstance(value, Data):
            raise Unsupported(f"operand {index} depends on the input's values")
        return value

    def setting(self, name: str, index: int, default: Any = None) -> Any:
        """A setting that is an attribute or, in later opsets, a constant operand; as Python numbers."""
        value = self.constant(index)
        return self.attribute(name, default) if value is None else value.array.tolist()


def position(axis: int, rank: int) -> int:
    """The axis counted from the start."""
    return axis + rank if axis < 0 else axis


def leading(shape: Sequence[int], entries: int) -> int | None:
    """The first dimension before which exactly so many entries lie, or None."""
    return next((index for index in range(len(shape)) if math.prod(shape[:index]) == entries), None)
