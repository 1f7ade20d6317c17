"""ONNX Runtime on the CPU, with every setting that changes latency made explicit."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Tuple

import numpy as np
import onnxruntime

from ..errors import HarnessError
from .base import Options, Session, check_settings

PROVIDER = "CPUExecutionProvider"
VERSION: str = onnxruntime.__version__
_OPSETS = {9: 15, 10: 15, 11: 16, 12: 17, 13: 17, 14: 18, 15: 19, 16: 19, 17: 20}
"""Minor version of ONNX Runtime 1 -> the highest opset that it reads, from its table of compatibility; boards of an
older JetPack have these. Every later version reads opset 21."""


class OnnxRuntimeBackend:
    """Sequential execution, all graph optimisations, a fixed number of threads that stop spinning after each run."""

    name = "onnxruntime"
    version = VERSION
    # int8 is what stands between QuantizeLinear and DequantizeLinear in the file.
    precisions: Tuple[str, ...] = ("fp32", "int8")
    settings: Dict[str, type] = {}
    clock = staticmethod(time.perf_counter_ns)

    @property
    def max_opset(self) -> int:
        return newest_opset(VERSION)

    def flags(self) -> Dict[str, Any]:
        return {
            "provider": PROVIDER,
            "graph_optimization": "all",
            "execution": "sequential",
            "inter_op_threads": 1,
            "force_spinning_stop": True,
            "io_binding": True,
        }

    def hardware(self) -> Dict[str, Any]:
        return {}

    def load(
        self,
        onnx: bytes,
        *,
        shape: Tuple[int, ...],
        threads: int,
        precision: str,  # noqa: ARG002
        data: np.ndarray,
        options: Options,
    ) -> Session:
        check_settings(self.name, options.settings, self.settings)
        with foreign_errors():
            session = onnxruntime.InferenceSession(
                onnx, sess_options=session_options(shape[0], threads), providers=[PROVIDER]
            )
            return OnnxRuntimeSession(session, shape, data)


def newest_opset(version: str) -> int:
    """Return the highest opset that a version of ONNX Runtime reads."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return _OPSETS.get(minor, 21) if major == 1 else 21


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


def only_input(session: Any) -> Any:
    """Return the session's input; raises HarnessError unless it is the only one, and float32."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        raise HarnessError(
            "parse_rejected",
            "the network must have one float32 input",
            value=[(i.name, i.type) for i in inputs],
            remedy="Export it with a single image input.",
        )
    return inputs[0]


class OnnxRuntimeSession:
    """A session whose input is bound to a buffer of our own, and whose output to one that its first run allocates."""

    parts: Tuple[str, ...] = ()

    def __init__(self, session: Any, shape: Tuple[int, ...], data: np.ndarray) -> None:
        name = only_input(session).name
        self.facts: Dict[str, Any] = {}
        self._session = session
        self._input = np.ascontiguousarray(np.broadcast_to(data, shape), dtype=np.float32).copy()
        self._binding = session.io_binding()
        self._binding.bind_input(name, "cpu", 0, np.float32, self._input.shape, self._input.ctypes.data)
        self._binding.bind_output(session.get_outputs()[0].name, "cpu")

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def parts_ns(self) -> Tuple[int, ...]:
        return ()

    def infer(self, batch: np.ndarray) -> np.ndarray:
        kept = self._input.copy()
        self._input[...] = batch
        try:
            with foreign_errors():
                self.run()
        finally:
            self._input[...] = kept
        outputs: np.ndarray = self._binding.copy_outputs_to_cpu()[0].astype(np.float32).reshape(len(batch), -1)
        return outputs

    def close(self) -> None:
        del self._binding, self._session


@contextmanager
def foreign_errors() -> Iterator[None]:
    """Turn what ONNX Runtime raises into HarnessError: `oom`, or else `parse_rejected`."""
    try:
        yield
    except HarnessError:
        raise
    except MemoryError as error:
        raise HarnessError("oom", "ONNX Runtime ran out of memory: %s" % error) from error
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this one
        text = str(error)
        if any(
            words in text for words in ("bad_alloc", "allocate memory", "out of memory", "CUDA_ERROR_OUT_OF_MEMORY")
        ):
            raise HarnessError("oom", "ONNX Runtime ran out of memory: %s" % text) from error
        raise HarnessError(
            "parse_rejected",
            "ONNX Runtime %s refuses the network: %s" % (VERSION, text),
            remedy=_remedy(text),
        ) from error


def _remedy(text: str) -> str:
    if "external" in text.lower():
        return "Save it as one file: this one keeps its weights in others, which are not read."
    return "Check the export with the onnx package's checker, or export for an older opset."
