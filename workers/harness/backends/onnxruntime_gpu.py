"""ONNX Runtime on an NVIDIA GPU: its CUDA and TensorRT providers, and NVIDIA's plug-in provider for RTX cards.

Input and output stay on the GPU, so that copies are not part of what is timed. Nodes that a provider leaves to the CPU
are refused: such a session would time the two and the traffic between them.
"""

from __future__ import annotations

import ctypes
import importlib
import time
from abc import ABC, abstractmethod
from typing import Any, Dict, Tuple

import numpy as np
import onnxruntime

from ..errors import HarnessError
from .base import Options, Session, check_settings
from .onnxruntime import VERSION, foreign_errors, newest_opset, only_input, session_options

CUDA_DRIVER = "libcuda.so.1"
RTX_PACKAGE = "onnxruntime_ep_nv_tensorrt_rtx"


class _GpuBackend(ABC):
    """A provider of ONNX Runtime on the first GPU; subclasses say which, and with which options."""

    name = ""
    provider = ""
    version = VERSION
    precisions: Tuple[str, ...] = ("fp32", "fp16")
    settings: Dict[str, type] = {"cuda_graph": bool}
    fixed: Dict[str, str] = {"device_id": "0"}
    clock = staticmethod(time.perf_counter_ns)

    def __init__(self) -> None:
        if self.provider not in onnxruntime.get_available_providers():
            raise ImportError("this build of ONNX Runtime has no %s" % self.provider)
        check_driver(self.name)

    @property
    def max_opset(self) -> int:
        return newest_opset(VERSION)

    def flags(self) -> Dict[str, Any]:
        return {
            "provider": self.provider,
            "graph_optimization": "all",
            "execution": "sequential",
            "io_binding": True,
            "transfers": False,
            **self.fixed,
        }

    def hardware(self) -> Dict[str, Any]:
        return {}

    @abstractmethod
    def options(self, precision: str, options: Options) -> Dict[str, str]:
        """Return the provider's options besides the fixed ones, all of them text."""

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
        with foreign_errors():
            configured = session_options(shape[0], threads)
            configured.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            begun = time.perf_counter_ns()
            session = self._open(onnx, configured, {**self.fixed, **self.options(precision, options)})
            build_ms = (time.perf_counter_ns() - begun) / 1e6
            if session.get_providers()[0] != self.provider:
                raise HarnessError(
                    "bad_input",
                    "%s does not start on this machine; ONNX Runtime fell back to %s"
                    % (self.provider, ", ".join(session.get_providers())),
                    value=self.name,
                    remedy="Check the GPU's driver and the libraries that this provider needs.",
                )
            return GpuSession(session, shape, data, build_ms)

    def _open(self, onnx: bytes, configured: Any, options: Dict[str, str]) -> Any:
        return onnxruntime.InferenceSession(
            onnx, sess_options=configured, providers=[(self.provider, options)], enable_fallback=0
        )


class CudaBackend(_GpuBackend):
    """cuDNN's exhaustive search for algorithms, no TF32, and without a CUDA graph unless the setting asks for one."""

    name = "onnxruntime-cuda"
    provider = "CUDAExecutionProvider"
    fixed = {"device_id": "0", "cudnn_conv_algo_search": "EXHAUSTIVE", "use_tf32": "0"}

    def options(self, precision: str, options: Options) -> Dict[str, str]:  # noqa: ARG002
        return {"enable_cuda_graph": _digit(options.settings.get("cuda_graph", False))}


class TensorRtBackend(_GpuBackend):
    """TensorRT inside ONNX Runtime; engines and timings are kept in the options' cache, if there is one."""

    name = "onnxruntime-tensorrt"
    provider = "TensorrtExecutionProvider"
    precisions = ("fp32", "fp16", "int8")

    def options(self, precision: str, options: Options) -> Dict[str, str]:
        found = {
            "trt_fp16_enable": _digit(precision == "fp16"),
            "trt_int8_enable": _digit(precision == "int8"),
            "trt_cuda_graph_enable": _digit(options.settings.get("cuda_graph", False)),
        }
        if options.cache is not None:
            found["trt_timing_cache_enable"] = "1"
            found["trt_timing_cache_path"] = str(options.cache)
        return found


class TensorRtRtxBackend(_GpuBackend):
    """TensorRT for RTX as NVIDIA's plug-in provider, a package of its own beside ONNX Runtime."""

    name = "onnxruntime-tensorrt-rtx"
    provider = "NvTensorRTRTXExecutionProvider"
    fixed = {}

    def __init__(self) -> None:
        package = importlib.import_module(RTX_PACKAGE)
        if not hasattr(onnxruntime, "register_execution_provider_library"):
            raise ImportError("ONNX Runtime %s takes no plug-in providers" % VERSION)
        check_driver(self.name)
        self.version = "%s, plug-in %s" % (VERSION, package.__version__)
        if not self._devices():
            with foreign_errors():
                onnxruntime.register_execution_provider_library(self.provider, package.get_library_path())
        if not self._devices():
            raise HarnessError(
                "bad_input",
                "%s finds no GPU that it supports" % self.provider,
                value=self.name,
                remedy="Measure on a GeForce RTX card, or use another backend.",
            )

    def options(self, precision: str, options: Options) -> Dict[str, str]:  # noqa: ARG002
        return {"enable_cuda_graph": _digit(options.settings.get("cuda_graph", False))}

    def _devices(self) -> Any:
        return [device for device in onnxruntime.get_ep_devices() if device.ep_name == self.provider]

    def _open(self, onnx: bytes, configured: Any, options: Dict[str, str]) -> Any:
        configured.add_provider_for_devices(self._devices()[:1], options)
        return onnxruntime.InferenceSession(onnx, sess_options=configured, enable_fallback=0)


class GpuSession:
    """A session whose input and output are values on the GPU; a run returns when the GPU has finished."""

    parts: Tuple[str, ...] = ()

    def __init__(self, session: Any, shape: Tuple[int, ...], data: np.ndarray, build_ms: float) -> None:
        name, output = only_input(session).name, session.get_outputs()[0]
        self.facts: Dict[str, Any] = {"build_ms": round(build_ms, 3)}
        self._session = session
        self._data = np.ascontiguousarray(np.broadcast_to(data, shape), dtype=np.float32)
        self._input = onnxruntime.OrtValue.ortvalue_from_numpy(self._data, "cuda", 0)
        sizes = [shape[0] if not isinstance(size, int) else size for size in output.shape]
        # At a fixed address, which a CUDA graph needs.
        self._output = onnxruntime.OrtValue.ortvalue_from_shape_and_type(sizes, np.float32, "cuda", 0)
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input(name, self._input)
        self._binding.bind_ortvalue_output(output.name, self._output)

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)

    def parts_ns(self) -> Tuple[int, ...]:
        return ()

    def infer(self, batch: np.ndarray) -> np.ndarray:
        with foreign_errors():
            self._input.update_inplace(np.ascontiguousarray(batch, dtype=np.float32))
            try:
                self.run()
            finally:
                self._input.update_inplace(self._data)
            outputs: np.ndarray = self._output.numpy().reshape(len(batch), -1)
        return outputs

    def close(self) -> None:
        del self._binding, self._session


def check_driver(backend: str) -> None:
    """Raise HarnessError if there is no NVIDIA driver: the providers would fall back to the CPU without a word."""
    try:
        ctypes.CDLL(CUDA_DRIVER)
    except OSError as error:
        raise HarnessError(
            "bad_input",
            "%s needs an NVIDIA driver, which is missing here: %s" % (backend, error),
            value=backend,
            remedy="Measure on a machine with an NVIDIA GPU, or use another backend.",
        ) from error


def _digit(flag: object) -> str:
    return "1" if flag else "0"
