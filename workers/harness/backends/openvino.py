"""OpenVINO on the CPU: one stream, the threads that were asked for, the precision that was asked for."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Tuple

import numpy as np
import openvino

from ..errors import HarnessError
from .base import Options, Session, check_settings

DEVICE = "CPU"
_PRECISIONS = {
    "fp32": ("FP32", "f32"),
    "bf16": ("BF16", "bf16"),
    "fp16": ("FP16", "f16"),
    # The integers stand in the file; the hint is for all else.
    "int8": ("INT8", "f32"),
}
"""Ours -> what the device lists among its capabilities, and the hint that asks for it."""


class OpenVinoBackend:
    """Latency mode; without the hint, OpenVINO would compute in bfloat16 wherever the processor can."""

    name = "openvino"
    max_opset = 21
    settings: Dict[str, type] = {}
    clock = staticmethod(time.perf_counter_ns)

    def __init__(self) -> None:
        self._core = openvino.Core()
        self.version: str = openvino.__version__.split("-")[0]
        capable = set(self._core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"))
        self.precisions: Tuple[str, ...] = tuple(name for name, (listed, _) in _PRECISIONS.items() if listed in capable)

    def flags(self) -> Dict[str, Any]:
        return {
            "device": DEVICE,
            "performance_hint": "latency",
            "streams": 1,
            "cpu_pinning": False,
            "hyper_threading": True,
        }

    def hardware(self) -> Dict[str, Any]:
        return {}

    def load(
        self,
        onnx: bytes,
        *,
        shape: Tuple[int, ...],
        threads: int,
        precision: str,
        data: np.ndarray,
        options: Options,
    ) -> Session:
        check_settings(self.name, options.settings, self.settings)
        with _foreign_errors():
            model = self._core.read_model(onnx, b"")
            if len(model.inputs) != 1:
                raise HarnessError(
                    "parse_rejected",
                    "the network must have one float32 input",
                    value=[entry.get_any_name() for entry in model.inputs],
                    remedy="Export it with a single image input.",
                )
            declared = model.inputs[0].partial_shape
            if not declared.compatible(openvino.PartialShape(list(shape))):
                raise HarnessError(
                    "parse_rejected",
                    "the network takes images of the shape %s, not %s" % (declared, list(shape)),
                    value=list(shape),
                    remedy="Give images of that shape.",
                )
            # A static shape, so that the optimiser knows the batch.
            model.reshape({model.inputs[0]: list(shape)})
            compiled = self._core.compile_model(
                model,
                DEVICE,
                {
                    "PERFORMANCE_HINT": "LATENCY",
                    "NUM_STREAMS": 1,
                    "INFERENCE_NUM_THREADS": threads,
                    "INFERENCE_PRECISION_HINT": _PRECISIONS[precision][1],
                    # Several sessions share the process; pinned, their threads would queue on the same processor.
                    "ENABLE_CPU_PINNING": False,
                    # In latency mode it would leave out the second thread of a core, whatever was asked for.
                    "ENABLE_HYPER_THREADING": True,
                },
            )
            return OpenVinoSession(compiled, shape, data)


class OpenVinoSession:
    """A request whose input and output are tensors over memory of our own."""

    parts: Tuple[str, ...] = ()

    def __init__(self, compiled: Any, shape: Tuple[int, ...], data: np.ndarray) -> None:
        self.facts: Dict[str, Any] = {"threads": int(compiled.get_property("INFERENCE_NUM_THREADS"))}
        self._input = np.ascontiguousarray(np.broadcast_to(data, shape), dtype=np.float32).copy()
        self._output = np.zeros(tuple(compiled.outputs[0].shape), dtype=np.float32)
        self._request = compiled.create_infer_request()
        self._request.set_input_tensor(openvino.Tensor(self._input, shared_memory=True))
        self._request.set_output_tensor(0, openvino.Tensor(self._output, shared_memory=True))
        self._infer = self._request.infer

    def run(self) -> None:
        self._infer()

    def parts_ns(self) -> Tuple[int, ...]:
        return ()

    def infer(self, batch: np.ndarray) -> np.ndarray:
        kept = self._input.copy()
        self._input[...] = batch
        try:
            with _foreign_errors():
                self.run()
        finally:
            self._input[...] = kept
        return self._output.reshape(len(batch), -1).copy()

    def close(self) -> None:
        del self._infer, self._request


@contextmanager
def _foreign_errors() -> Iterator[None]:
    try:
        yield
    except HarnessError:
        raise
    except MemoryError as error:
        raise HarnessError("oom", "OpenVINO ran out of memory: %s" % error) from error
    except (RuntimeError, TypeError, ValueError) as error:
        text = " ".join(str(error).split())
        if "bad_alloc" in text or "allocate" in text:
            raise HarnessError("oom", "OpenVINO ran out of memory: %s" % text) from error
        raise HarnessError(
            "parse_rejected",
            "OpenVINO %s refuses the network: %s" % (openvino.__version__, text),
            remedy="Check the export with the onnx package's checker, or measure with another backend.",
        ) from error
