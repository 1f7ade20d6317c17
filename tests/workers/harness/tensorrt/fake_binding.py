"""What a module shaped like `tensorrt` has in which version, and how its calls fail on demand.

`test_bindings.py` holds names, limits and the parameters' names against real libraries.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from types import ModuleType
from typing import Any

Version = tuple[int, int]
NEVER: Version = (99, 0)
RTX = "12.0"
"""Stands for TensorRT for RTX, whose own version numbers are another count."""
LIMITS: dict[str, tuple[Version, Version]] = {
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH": ((0, 0), (11, 0)),
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": ((10, 0), NEVER),
    "BuilderFlag.FP16": ((0, 0), (11, 0)),
    "BuilderFlag.INT8": ((0, 0), (11, 0)),
    "IBuilderConfig.builder_optimization_level": ((8, 6), NEVER),
    "IBuilderConfig.int8_calibrator": ((0, 0), (11, 0)),
    "IBuilderConfig.set_calibration_profile": ((0, 0), (11, 0)),
    "ICudaEngine.device_memory_size": ((0, 0), (11, 0)),
    "ICudaEngine.device_memory_size_v2": ((10, 1), NEVER),
    "ParserError.node_name": ((10, 0), NEVER),
    "ParserError.node_operator": ((10, 0), NEVER),
    "IInt8EntropyCalibrator2": ((0, 0), (11, 0)),
    "IRuntimeConfig": ((10, 13), NEVER),
    "ICudaEngine.create_runtime_config": ((10, 13), NEVER),
    "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy": ((12, 0), NEVER),
    "DynamicShapesKernelSpecializationStrategy": ((12, 0), NEVER),
}
"""Name -> (the first version that has it, the first that has not); what is not here is in all."""
ENUMS = {
    "NetworkDefinitionCreationFlag": ["EXPLICIT_BATCH", "STRONGLY_TYPED"],
    "BuilderFlag": ["FP16", "INT8", "GPU_FALLBACK", "TF32"],
    "ProfilingVerbosity": ["LAYER_NAMES_ONLY", "NONE", "DETAILED"],
    "DataType": ["FLOAT", "HALF", "INT8", "INT32", "BOOL"],
    "DeviceType": ["GPU", "DLA"],
    "LayerType": ["CONVOLUTION", "ACTIVATION", "QUANTIZE", "DEQUANTIZE"],
    "LayerInformationFormat": ["ONELINE", "JSON"],
    "TensorIOMode": ["NONE", "INPUT", "OUTPUT"],
    "DynamicShapesKernelSpecializationStrategy": ["LAZY", "EAGER", "NONE"],
}


class Bound:
    """Like an object of a binding: it has the attributes of its class and takes no others."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        object.__setattr__(self, name, value)


class Overridable:
    """Like a class of a binding that Python code derives from."""


class Binding:
    """A module in the making, of one version; `faults` are the calls that shall fail, `calls` those that were made."""

    def __init__(self, version: str, cuda: Any) -> None:
        self.module: Any = ModuleType("tensorrt_rtx" if version == RTX else "tensorrt")
        self.module.__version__ = version
        self.module.faults, self.module.calls = set(), []
        self.version = tuple(int(part) for part in version.split(".")[:2])
        self.cuda, self.logger = cuda, None
        for name, members in ENUMS.items():
            if self.has(name):
                there = [member for member in members if self.has(f"{name}.{member}")]
                setattr(self.module, name, enum.IntEnum(name, there, start=0))

    def has(self, name: str) -> bool:
        first, last = LIMITS.get(name, ((0, 0), NEVER))
        return first <= self.version < last

    def add(self, kind: type) -> None:
        """Put a class into the module, without what this version lacks."""
        if self.has(kind.__name__):
            for name in [name for name in vars(kind) if not self.has(f"{kind.__name__}.{name}")]:
                delattr(kind, name)
            setattr(self.module, kind.__name__, kind)

    def say(self, text: str) -> None:
        """Log an error, as the library does with the first logger that it is given."""
        if self.logger is not None:
            self.logger.log(self.module.ILogger.Severity.ERROR, text)

    def fallible(self, otherwise: Any = None) -> Callable[[Callable[..., Any]], Any]:
        """Mark a call that can fail, and what it then returns or raises; constructors do as for a null pointer."""

        def mark(method: Callable[..., Any]) -> Any:
            name = method.__qualname__.split("<locals>.")[-1].removesuffix(".__init__")

            def called(this: Any, *arguments: Any, **named: Any) -> Any:
                self.module.calls.append(name)
                if method.__name__ == "__init__" and self.logger is None:
                    self.logger = arguments[-1]
                if name not in self.module.faults:
                    return method(this, *arguments, **named)
                self.say(f"{name} was told to fail")
                if method.__name__ == "__init__":
                    raise TypeError("pybind11::init(): factory function returned nullptr")
                if isinstance(otherwise, Exception):
                    raise otherwise
                return otherwise

            called.__dict__["__wrapped__"] = method  # the signature that inspect shows
            return called

        return mark
