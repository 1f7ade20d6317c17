"""Which channel counts get a convolution into ONNX Runtime's blocked layout (NCHWc): found out by asking the runtime.

The rule depends on the processor's vector width and on the runtime's version, so networks of one convolution are handed
to its optimiser, and what it makes of them is read.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, Tuple, Union

from .onnx_graph import FLOAT, read_graph

BLOCKED_DOMAIN = "com.microsoft.nchwc"
LARGEST = 32
"""Counts are tried up to this; no processor has longer blocks than 16."""
_OPSET, _IR_VERSION = 11, 6


@dataclass(frozen=True)
class Rule:
    """What the optimiser accepts: multiples of a step, and inputs of few channels, such as an image's three.

    A step of 0 says that no count is accepted: this processor has no blocked layout.
    """

    input_step: int
    output_step: int
    depthwise_step: int
    few_inputs: int

    def regaining(self, in_channels: int, out_channels: int, groups: int) -> Dict[str, List[int]]:
        """Return the nearest counts, below and above, that would be accepted; nothing for those that are already."""
        if groups == 1:
            wanted = {"in_channels": (in_channels, self.input_step), "out_channels": (out_channels, self.output_step)}
            if in_channels <= self.few_inputs:
                del wanted["in_channels"]
        elif groups == in_channels == out_channels:
            wanted = {"out_channels": (out_channels, self.depthwise_step)}
        else:
            return {}
        return {
            name: [count for count in (channels // step * step, -(-channels // step) * step) if count > 0]
            for name, (channels, step) in wanted.items()
            if step and channels % step
        }


def find_rule() -> Rule:
    """Ask ONNX Runtime, with some hundred networks of one convolution; takes about a second."""
    counts = range(1, LARGEST + 1)
    with tempfile.TemporaryDirectory(prefix="layerprune-") as folder:
        ask = _Asking(Path(folder))
        inputs = [count for count in counts if ask.is_blocked(count, LARGEST, 1)]
        outputs = [count for count in counts if ask.is_blocked(LARGEST, count, 1)]
        depthwise = [count for count in counts if ask.is_blocked(count, count, count)]
    few = 0
    while few + 1 in inputs and few + 1 < LARGEST:
        few += 1
    return Rule(_step(inputs), _step(outputs), _step(depthwise), few)


def _step(accepted: Iterable[int]) -> int:
    """Return the smallest step of which all multiples are accepted."""
    known = set(accepted)
    steps = (s for s in range(1, LARGEST + 1) if all(m in known for m in range(s, LARGEST + 1, s)))
    return next(steps, 0)


class _Asking:
    """Has the runtime optimise one convolution and looks at what came out."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        from .backends.onnxruntime import PROVIDER, session_options

        self._folder = folder
        self._session: Any = onnxruntime.InferenceSession
        self._options, self._provider = session_options, PROVIDER

    def is_blocked(self, in_channels: int, out_channels: int, groups: int) -> bool:
        optimised = self._folder / "optimised.onnx"
        options = self._options(1, 1)
        options.optimized_model_filepath = str(optimised)
        onnx = one_convolution(in_channels, out_channels, groups)
        self._session(onnx, sess_options=options, providers=[self._provider])
        return any(node.domain == BLOCKED_DOMAIN for node in read_graph(optimised.read_bytes()).nodes)


def one_convolution(in_channels: int, out_channels: int, groups: int) -> bytes:
    """Write an ONNX file with one 3 x 3 convolution of 8 x 8 images; field numbers as in onnx/onnx.proto."""
    per_group = in_channels // groups
    weights = bytes(4 * out_channels * per_group * 9)
    tensor = _message(*((1, size) for size in (out_channels, per_group, 3, 3)), (2, FLOAT), (8, "w"), (9, weights))
    pads = _message((1, "pads"), *((8, 1) for _ in range(4)), (20, 7))
    group = _message((1, "group"), (3, groups), (20, 2))
    node = _message((1, "x"), (1, "w"), (2, "y"), (4, "Conv"), (5, pads), (5, group))
    graph = _message(
        (1, node), (2, "one"), (5, tensor), (11, _value("x", in_channels)), (12, _value("y", out_channels))
    )
    return _message((1, _IR_VERSION), (7, graph), (8, _message((2, _OPSET))))


def _value(name: str, channels: int) -> bytes:
    shape = _message(*((1, _message((1, size))) for size in (1, channels, 8, 8)))
    return _message((1, name), (2, _message((1, _message((1, FLOAT), (2, shape))))))


def _message(*fields: Tuple[int, Union[int, str, bytes]]) -> bytes:
    """Write a protobuf message: whole numbers, texts and nested messages."""
    written = b""
    for number, value in fields:
        if isinstance(value, int):
            written += _varint(number << 3) + _varint(value)
        else:
            content = value.encode() if isinstance(value, str) else value
            written += _varint(number << 3 | 2) + _varint(len(content)) + content
    return written


def _varint(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
