"""What TensorRT's parser makes of a network: its layers, or what it refuses, with operator and node.

Only bytes are taken, never a path, so that nothing outside of the file can be read; and only ONNX, because an engine is
native code: those that run here are those that were built here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Tuple

from ...errors import HarnessError
from .compat import Library

ENGINE_MAGIC = b"trt"
"""How engines begin, after one letter: f for TensorRT, v for TensorRT for RTX. ONNX never does."""


@dataclass(frozen=True)
class Refusal:
    """One thing that the parser does not take. The operator is empty where the parser does not say it (8.x)."""

    operator: str
    node: str
    message: str

    def __str__(self) -> str:
        where = " ".join(filter(None, (self.operator, self.node and "(node %s)" % self.node)))
        return "%s: %s" % (where, self.message) if where else self.message


@dataclass(frozen=True)
class Parsed:
    """A network's number of layers, its inputs (-1 for open sizes), and what was refused."""

    layers: int
    inputs: Dict[str, Tuple[int, ...]]
    refusals: List[Refusal]


class Draft:
    """A network as parsed, with what must live as long as it does."""

    def __init__(self, onnx: bytes, library: Library, typing: str) -> None:
        if onnx[1:4] == ENGINE_MAGIC:
            raise HarnessError(
                "parse_rejected",
                "this is an engine of TensorRT, not ONNX; engines are native code, and only those built here are run",
                value=repr(onnx[:4]),
                remedy="Give the ONNX file that it was built from.",
            )
        self._api = library.api
        self.builder = library.builder()
        self.network = library.made(self.builder.create_network(library.network_flags(typing)), "a network")
        self._parser = library.construct("OnnxParser", self.network)
        self.refusals: List[Refusal] = []
        if not self._parser.parse(onnx):
            errors = [self._parser.get_error(i) for i in range(self._parser.num_errors)]
            self.refusals = [_refusal(error) for error in errors] or [Refusal("", "", library.said())]
        elif self.network.num_layers == 0:
            self.refusals = [Refusal("", "", "there is no network in the file")]

    def inputs(self) -> Dict[str, Tuple[int, ...]]:
        """Return the shapes of the inputs; -1 stands for open sizes."""
        found = (self.network.get_input(i) for i in range(self.network.num_inputs))
        return {tensor.name: tuple(tensor.shape) for tensor in found}

    def carried(self) -> str:
        """Return the precision that the file itself states: int8 if it is quantised, fp16 if anything is, else fp32."""
        if any(layer.type == self._api.LayerType.QUANTIZE for layer in self._layers()):
            return "int8"
        outputs = (layer.get_output(i) for layer in self._layers() for i in range(layer.num_outputs))
        return "fp16" if any(tensor.dtype == self._api.DataType.HALF for tensor in outputs) else "fp32"

    def _layers(self) -> Iterator[Any]:
        return (self.network.get_layer(i) for i in range(self.network.num_layers))


def parse(onnx: bytes, library: Library) -> Parsed:
    """Say what the library's parser makes of a network.

    Raises HarnessError only if it is an engine, or if the library cannot parse anything here.
    """
    draft = Draft(onnx, library, library.typings[0])
    return Parsed(draft.network.num_layers, draft.inputs(), draft.refusals)


def _refusal(error: Any) -> Refusal:
    if hasattr(error, "node_operator"):
        return Refusal(error.node_operator() or "", error.node_name() or "", error.desc())
    return Refusal("", "number %d" % error.node(), error.desc())
