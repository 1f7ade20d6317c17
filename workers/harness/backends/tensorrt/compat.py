"""Two libraries with one Python API, TensorRT 8.5 to 11 and TensorRT for RTX; all differences are probed here.

What exists where is from the sources of NVIDIA's bindings (github.com/NVIDIA/TensorRT, python/src, tags 8.5.2, v8.6.1,
v10.3.0, v10.16, v11.1) and from the wheels that the tests import. Versions are never compared where a probe will do.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from ...errors import HarnessError

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
STRONG, WEAK = "strong", "weak"
KEPT_MESSAGES, MESSAGE_CHARS = 50, 2000
OUT_OF_MEMORY = ("out of memory", "outofmemory", "insufficient memory", "failed_allocation")


@dataclass(frozen=True)
class Library:
    """One of the two libraries, as it is installed here.

    TensorRT keeps a pointer to the first logger that it is given, so there is one for as long as the process lives.
    """

    name: str
    api: Any
    log: Any
    version: str = field(default="")

    @property
    def typings(self) -> Tuple[str, ...]:
        """How a network's precision can be chosen, the preferred way first.

        With strong typing the file says what is computed in which precision; with weak typing the builder may choose
        among those that it is allowed. 8.x has weak typing only, 11 and TensorRT for RTX strong typing only.
        """
        strong = not self._has_weak or hasattr(self.api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
        return ((STRONG,) if strong else ()) + ((WEAK,) if self._has_weak else ())

    @property
    def _has_weak(self) -> bool:
        return hasattr(self.api.BuilderFlag, "FP16")

    @property
    def calibrates(self) -> bool:
        """Whether it can find int8 ranges by itself, from images; otherwise the file must hold them (Q/DQ)."""
        return hasattr(self.api, "IInt8EntropyCalibrator2")

    @property
    def times_kernels(self) -> bool:
        """Whether building times kernels on the GPU, so that a cache of timings is worth keeping.

        TensorRT for RTX builds for a named GPU without one, and compiles kernels when an engine is loaded.
        """
        return self.name == "tensorrt"

    @property
    def max_opset(self) -> int:
        """The highest ONNX opset that its parser reads: 17 for 8.x (JetPack 5 and 6.0)."""
        return 17 if self._has_weak and STRONG not in self.typings else 20

    @property
    def capabilities(self) -> Tuple[str, ...]:
        """The compute capabilities that it can build for, such as "SM86", or none if only for the GPU that is here."""
        named = getattr(self.api, "ComputeCapability", None)
        numbers = sorted(int(name[2:]) for name in getattr(named, "__members__", {}) if name.startswith("SM"))
        return tuple("SM%d" % number for number in numbers)

    def network_flags(self, typing: str) -> int:
        """Return the flags to create a network with."""
        known, flags = self.api.NetworkDefinitionCreationFlag, 0
        if hasattr(known, "EXPLICIT_BATCH"):  # needed by 8.x, ignored by 10, gone in 11
            flags |= 1 << int(known.EXPLICIT_BATCH)
        if typing == STRONG and self._has_weak:  # where there is nothing else the flag is deprecated
            flags |= 1 << int(known.STRONGLY_TYPED)
        return flags

    def builder(self) -> Any:
        """Make a builder; raises HarnessError where the library cannot build, which is without a GPU as a rule."""
        self.log.errors.clear()
        try:
            return self.construct("Builder")
        except HarnessError as error:
            remedy = "It needs a GPU with its driver. TensorRT for RTX also builds without one."
            raise HarnessError("bad_input", error.message, remedy=remedy) from error

    def construct(self, kind: str, *arguments: Any) -> Any:
        """Make an object of the library that wants its logger as the last argument."""
        try:
            return getattr(self.api, kind)(*arguments, self.log)
        except (TypeError, RuntimeError) as error:  # the binding's word for a null pointer
            raise self.failure("crashed", "cannot make a %s" % kind) from error

    def made(self, thing: Any, what: str) -> Any:
        """Pass on what the library made; raises HarnessError if it made nothing."""
        if thing is None:
            raise self.failure("crashed", "cannot make %s" % what)
        return thing

    def choose_capability(self, config: Any, name: Optional[str]) -> None:
        """Have the builder build for a named compute capability; None is the GPU that is here."""
        if name is None:
            if not self.capabilities:
                return
            name = "CURRENT"
        elif name not in self.capabilities:
            raise HarnessError(
                "bad_input",
                "%s %s cannot build for %s; it can for: %s"
                % (self.name, self.version, name, ", ".join(self.capabilities) or "the GPU that is here"),
                value=name,
                remedy="Name one of these.",
            )
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(self.api.ComputeCapability, name), 0)

    def execution_context(self, engine: Any) -> Any:
        """Make a context whose kernels are final from the first run on.

        TensorRT for RTX otherwise runs general kernels for shapes that were open when the engine was built, until
        others are compiled in the background: latency would jump in the middle, and a CUDA graph would keep the slow
        ones.
        """
        strategies = getattr(self.api, "DynamicShapesKernelSpecializationStrategy", None)
        if strategies is None:
            return engine.create_execution_context()
        config = self.made(engine.create_runtime_config(), "a runtime configuration")
        config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        return engine.create_execution_context(config)

    def host_type(self, tensor: str, dtype: Any) -> np.dtype:
        """Return numpy's type for an input or output of an engine; raises HarnessError for what images never are."""
        known: Dict[str, Any] = {"FLOAT": np.float32, "HALF": np.float16}
        for name, host in known.items():
            if dtype == getattr(self.api.DataType, name):
                found: np.dtype = np.dtype(host)
                return found
        raise HarnessError(
            "parse_rejected",
            "the tensor %r has the type %s; inputs and outputs must be float32 or float16" % (tensor, dtype),
            value=str(dtype),
            remedy="Export the network with float inputs and outputs.",
        )

    def device_memory_bytes(self, engine: Any) -> int:
        """Return what a context of the engine needs on the device besides weights."""
        # The second name is deprecated where there is the first, which came with 10.1, and gone in 11.
        name = "device_memory_size_v2" if hasattr(engine, "device_memory_size_v2") else "device_memory_size"
        return int(getattr(engine, name))

    def said(self) -> str:
        """Return the errors since the last `errors.clear()`."""
        return "; ".join(dict.fromkeys(self.log.errors)) or "it gave no reason"

    def failure(self, code: str, what: str) -> HarnessError:
        """Make the error for something that the library did not do; `oom` if that is what it says."""
        said = self.said()
        if any(words in said.lower() for words in OUT_OF_MEMORY):
            code = "oom"
        remedy = "The message is TensorRT's own; change the network or the options, or measure on another runtime."
        if code == "oom":
            remedy = "Measure fewer networks together, or on a device with more memory."
        return HarnessError(code, "%s %s %s: %s" % (self.name, self.version, what, said), remedy=remedy)


@lru_cache(maxsize=None)
def find_library(name: str) -> Library:
    """Import one of MODULES; raises ImportError if it is not installed."""
    api: Any = importlib.import_module(MODULES[name])
    return wrap(name, api)


def wrap(name: str, api: Any) -> Library:
    """Give a module its logger and register its plug-ins."""
    library = Library(name, api, _log(api), str(api.__version__))
    if hasattr(api, "init_libnvinfer_plugins"):
        api.init_libnvinfer_plugins(library.log, "")
    return library


def _log(api: Any) -> Any:
    # Errors arrive here and nowhere else: the calls themselves return nothing, or false.
    class Log(api.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            api.ILogger.__init__(self)
            self.errors: List[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if int(severity) <= int(api.ILogger.Severity.ERROR) and len(self.errors) < KEPT_MESSAGES:
                self.errors.append(msg[:MESSAGE_CHARS])

    return Log()
