"""Read what an ONNX file says about its graph, with the standard library alone.

Whoever measures needs shapes and layers before any runtime is asked, and may have no `onnx` package. Field numbers are
those of onnx/onnx.proto; what is not named here is skipped, the weights' bytes above all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Optional, Tuple, Union

from .errors import HarnessError

FLOAT = 1
_EXTERNAL = 1
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5

Part = Union[int, memoryview]


@dataclass(frozen=True)
class Tensor:
    """An initializer's name and shape; `location` names the file where its bytes lie if that is another one."""

    name: str
    dims: Tuple[int, ...]
    location: str = ""


@dataclass(frozen=True)
class Value:
    """An input or output; a dimension that the file leaves open is None."""

    name: str
    element_type: int
    dims: Tuple[Optional[int], ...]


@dataclass(frozen=True)
class Node:
    """An operation; `attributes` holds those that are whole numbers."""

    name: str
    op: str
    domain: str
    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]
    attributes: Dict[str, Tuple[int, ...]] = field(default_factory=dict)

    def number(self, name: str, default: int) -> int:
        """Return an attribute that is one whole number."""
        return (self.attributes.get(name) or (default,))[0]


@dataclass(frozen=True)
class Graph:
    """The main graph; inputs do not count initializers among them."""

    nodes: List[Node]
    tensors: Dict[str, Tensor]
    inputs: List[Value]
    outputs: List[Value]

    def outside(self) -> List[Tensor]:
        """Return the tensors whose bytes lie in other files."""
        return [tensor for tensor in self.tensors.values() if tensor.location]


def read_graph(data: bytes) -> Graph:
    """Read an ONNX file; raises HarnessError with code `parse_rejected` if it is none."""
    try:
        graphs = [part for number, part in _fields(memoryview(data)) if number == 7]
        found = _graph(graphs[-1]) if graphs and isinstance(graphs[-1], memoryview) else None
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise _broken(str(error)) from error
    if found is None or not found.nodes:
        raise _broken("it has no graph")
    return found


def _broken(why: str) -> HarnessError:
    return HarnessError(
        "parse_rejected",
        "it is no ONNX file, or a part of one: %s" % why,
        remedy="Give a complete .onnx file; export the network again if it was copied only in part.",
    )


def _graph(data: memoryview) -> Graph:
    nodes: List[Node] = []
    tensors: Dict[str, Tensor] = {}
    inputs: List[Value] = []
    outputs: List[Value] = []
    for number, part in _fields(data):
        if not isinstance(part, memoryview):
            continue
        if number == 1:
            node, constants = _node(part)
            nodes.append(node)
            tensors.update(constants)
        elif number == 5:
            tensor = _tensor(part)
            tensors[tensor.name] = tensor
        elif number == 11:
            inputs.append(_value(part))
        elif number == 12:
            outputs.append(_value(part))
    return Graph(nodes, tensors, [value for value in inputs if value.name not in tensors], outputs)


def _node(data: memoryview) -> Tuple[Node, Dict[str, Tensor]]:
    """Return a node, and the tensor that it stands for if it is a constant."""
    texts: Dict[int, List[str]] = {number: [] for number in (1, 2, 3, 4, 7)}
    attributes: Dict[str, Tuple[int, ...]] = {}
    constants: Dict[str, Tensor] = {}
    for number, part in _fields(data):
        if not isinstance(part, memoryview):
            continue
        if number in texts:
            texts[number].append(_text(part))
        elif number == 5:
            name, numbers, tensor = _attribute(part)
            attributes[name] = numbers
            if tensor is not None:
                constants[texts[2][0] if texts[2] else name] = tensor
    name, op, domain = ("".join(texts[number][-1:]) for number in (3, 4, 7))
    return Node(name, op, domain, tuple(texts[1]), tuple(texts[2]), attributes), constants


def _attribute(data: memoryview) -> Tuple[str, Tuple[int, ...], Optional[Tensor]]:
    name = ""
    numbers: List[int] = []
    tensor: Optional[Tensor] = None
    for number, part in _fields(data):
        if number == 1 and isinstance(part, memoryview):
            name = _text(part)
        elif number == 5 and isinstance(part, memoryview):
            tensor = _tensor(part)
        elif number in (3, 8):
            numbers += _integers(part)
    return name, tuple(numbers), tensor


def _tensor(data: memoryview) -> Tensor:
    name, location, is_outside = "", "", False
    dims: List[int] = []
    for number, part in _fields(data):
        if number == 1:
            dims += _integers(part)
        elif number == 8 and isinstance(part, memoryview):
            name = _text(part)
        elif number == 13 and isinstance(part, memoryview):
            entry = {n: _text(p) for n, p in _fields(part) if isinstance(p, memoryview)}
            location = entry.get(2, "") if entry.get(1) == "location" else location
        elif number == 14:
            is_outside = part == _EXTERNAL
    return Tensor(name, tuple(dims), (location or "another file") if is_outside else "")


def _value(data: memoryview) -> Value:
    name, kind = "", 0
    dims: List[Optional[int]] = []
    for number, part in _fields(data):
        if number == 1 and isinstance(part, memoryview):
            name = _text(part)
        for tensor in _inner(number, part, 2, 1):
            for inner, content in _fields(tensor):
                if inner == 1 and isinstance(content, int):
                    kind = content
                elif inner == 2 and isinstance(content, memoryview):
                    dims = [_dimension(dim) for n, dim in _fields(content) if n == 1 and isinstance(dim, memoryview)]
    return Value(name, kind, tuple(dims))


def _inner(number: int, part: Part, wanted: int, within: int) -> Iterator[memoryview]:
    if number == wanted and isinstance(part, memoryview):
        for inner, content in _fields(part):
            if inner == within and isinstance(content, memoryview):
                yield content


def _dimension(data: memoryview) -> Optional[int]:
    # Some exporters write an open dimension as -1.
    sizes = [_signed(part) for number, part in _fields(data) if number == 1 and isinstance(part, int)]
    return sizes[-1] if sizes and sizes[-1] > 0 else None


def _integers(part: Part) -> List[int]:
    """Whole numbers, one to a field or packed into one."""
    if isinstance(part, int):
        return [_signed(part)]
    numbers: List[int] = []
    at = 0
    while at < len(part):
        value, at = _varint(part, at)
        numbers.append(_signed(value))
    return numbers


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _text(part: memoryview) -> str:
    return bytes(part).decode("utf-8")


def _fields(data: memoryview) -> Iterator[Tuple[int, Part]]:
    """Yield field numbers with their content: whole numbers as they are, all else as a view of its bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            size = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError("unknown kind of field %d at byte %d" % (kind, at))
        if at + size > len(data):
            raise ValueError("it ends within a field, at byte %d of %d" % (at, at + size))
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> Tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number without an end at byte %d" % at)
