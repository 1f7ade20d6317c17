"""ONNX Runtime on the CPU, with every setting that changes latency made explicit."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Tuple

import numpy as np
import onnxruntime

from ..errors import HarnessError
from .base import Session

PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeBackend:
    """Sequential execution, all graph optimisations, a fixed number of threads that stop spinning after each run."""

    name = "onnxruntime"
    version: str = onnxruntime.__version__
    precisions = ("fp32",)
    # The highest opset that every version from 1.18 on accepts.
    max_opset = 21
    clock = staticmethod(time.perf_counter_ns)

    def flags(self) -> Dict[str, Any]:
        return {
            "provider": PROVIDER,
            "graph_optimization": "all",
            "execution": "sequential",
            "inter_op_threads": 1,
            "force_spinning_stop": True,
            "io_binding": True,
        }

    def load(self, onnx: bytes, *, shape: Tuple[int, ...], threads: int, precision: str, data: np.ndarray) -> Session:  # noqa: ARG002
        with _foreign_errors():
            session = onnxruntime.InferenceSession(
                onnx, sess_options=session_options(shape[0], threads), providers=[PROVIDER]
            )
            return OnnxRuntimeSession(session, shape, data)


def session_options(batch: int, threads: int) -> Any:
    """Return the options of a timed session; the batch axis is fixed, so that the optimiser sees static shapes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Several sessions live in one process: the threads of those that wait must not burn the processor.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_free_dimension_override_by_name("batch", batch)
    options.log_severity_level = 3
    return options


class OnnxRuntimeSession:
    """A session whose input and output are bound to buffers of our own, so that a run allocates and copies nothing."""

    def __init__(self, session: Any, shape: Tuple[int, ...], data: np.ndarray) -> None:
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)":
            raise HarnessError(
                "parse_rejected",
                "the network must have one float32 input",
                value=[(i.name, i.type) for i in inputs],
                remedy="Export it with a single image input.",
            )
        self._session = session
        self._input = np.ascontiguousarray(np.broadcast_to(data, shape), dtype=np.float32).copy()
        first = session.run([outputs[0].name], {inputs[0].name: self._input})[0]
        self._output = np.zeros_like(first)
        self._binding = session.io_binding()
        self._binding.bind_input(inputs[0].name, "cpu", 0, np.float32, self._input.shape, self._input.ctypes.data)
        self._binding.bind_output(
            outputs[0].name, "cpu", 0, self._output.dtype.type, self._output.shape, self._output.ctypes.data
        )

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def infer(self, batch: np.ndarray) -> np.ndarray:
        kept = self._input.copy()
        self._input[...] = batch
        try:
            with _foreign_errors():
                self.run()
        finally:
            self._input[...] = kept
        outputs: np.ndarray = self._output.astype(np.float32).reshape(len(batch), -1)
        return outputs

    def close(self) -> None:
        del self._binding, self._session


@contextmanager
def _foreign_errors() -> Iterator[None]:
    try:
        yield
    except HarnessError:
        raise
    except MemoryError as error:
        raise HarnessError("oom", "ONNX Runtime ran out of memory: %s" % error) from error
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this one
        text = str(error)
        if "bad_alloc" in text or "allocate memory" in text:
            raise HarnessError("oom", "ONNX Runtime ran out of memory: %s" % text) from error
        raise HarnessError(
            "parse_rejected",
            "ONNX Runtime %s refuses the network: %s" % (onnxruntime.__version__, text),
            remedy="Check the export with the onnx package's checker, or export for an older opset.",
        ) from error
