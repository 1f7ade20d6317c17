"""Modules with the names and the behaviour of `tensorrt` in a version, up to a built engine; see `fake_binding`."""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Any

import fake_runtime
import onnx
from fake_binding import Binding, Bound, Overridable

TYPES = {1: "FLOAT", 10: "HALF", 3: "INT8", 6: "INT32", 7: "INT32", 9: "BOOL"}
KERNELS = {"QuantizeLinear": "QUANTIZE", "DequantizeLinear": "DEQUANTIZE", "Relu": "ACTIVATION"}


def make(version: str, cuda: Any) -> Any:
    """Make the module; its engines run on the given fake libcudart."""
    binding = Binding(version, cuda)
    _add_basics(binding)
    _add_network(binding)
    _add_builder(binding)
    fake_runtime.add_runtime(binding)
    return binding.module


def _add_basics(binding: Binding) -> None:
    class ILogger(Overridable):
        Severity = IntEnum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"], start=0)

    class IInt8EntropyCalibrator2(Overridable):
        pass

    class IOptimizationProfile(Bound):
        _shapes: tuple[Any, ...] = ()

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            self._shapes = (tuple(min), tuple(opt), tuple(max))

    class ITimingCache(Bound):
        def __init__(self, content: bytes) -> None:
            self._content = content

        @binding.fallible()
        def serialize(self) -> bytes:
            return self._content or b"timings"

    def init_libnvinfer_plugins(logger: Any, namespace: str) -> bool:
        return True

    binding.module.init_libnvinfer_plugins = init_libnvinfer_plugins
    for kind in (ILogger, IInt8EntropyCalibrator2, IOptimizationProfile, ITimingCache):
        binding.add(kind)


def _add_network(binding: Binding) -> None:
    module = binding.module

    class ITensor(Bound):
        name = shape = dtype = None

        def __init__(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
            self.name, self.shape, self.dtype = name, shape, getattr(module.DataType, dtype)

    class ILayer(Bound):
        name = type = num_outputs = None

        def __init__(self, node: Any, dtype: str) -> None:
            self.name, self.num_outputs = node.name or node.output[0], len(node.output)
            self.type = getattr(module.LayerType, KERNELS.get(node.op_type, "CONVOLUTION"))
            self._dtype = dtype

        def get_output(self, index: int) -> ITensor:
            return ITensor(f"{self.name}:{index}", (1,), self._dtype)

    class INetworkDefinition(Bound):
        num_layers = num_inputs = 0

        def __init__(self, flags: int) -> None:
            self._onnx, self._layers, self._inputs = b"", [], []
            if binding.version < (10, 0):
                explicit = 1 << module.NetworkDefinitionCreationFlag.EXPLICIT_BATCH
                assert flags & explicit, "the ONNX parser needs an explicit batch"

        def get_layer(self, index: int) -> ILayer:
            return self._layers[index]

        def get_input(self, index: int) -> ITensor:
            return self._inputs[index]

    class ParserError(Bound):
        def __init__(self, node: Any, number: int) -> None:
            self._node, self._number = node, number

        def node(self) -> int:
            return self._number

        def node_name(self) -> str:
            return self._node.name

        def node_operator(self) -> str:
            return self._node.op_type

        def desc(self) -> str:
            return "Plugin not found"

    class OnnxParser(Bound):
        num_errors = 0

        @binding.fallible()
        def __init__(self, network: INetworkDefinition, logger: Any) -> None:
            self._network, self._errors = network, []

        @binding.fallible(False)
        def parse(self, model: bytes, path: str | None = None) -> bool:
            assert path is None
            try:
                graph = onnx.load_from_string(bytes(model)).graph
            except Exception:  # protobuf's own, which has no public name
                binding.say("Failed to parse ONNX model from bytes")
                return False
            network, kind = self._network, TYPES[graph.input[0].type.tensor_type.elem_type]
            network._onnx, network._layers = bytes(model), [ILayer(node, kind) for node in graph.node]
            for value in graph.input:
                sizes = tuple(dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim)
                network._inputs.append(ITensor(value.name, sizes, TYPES[value.type.tensor_type.elem_type]))
            network.num_layers, network.num_inputs = len(network._layers), len(network._inputs)
            self._errors = [ParserError(node, i) for i, node in enumerate(graph.node) if node.domain]
            self.num_errors = len(self._errors)
            return not self._errors

        def get_error(self, index: int) -> ParserError:
            return self._errors[index]

    for kind in (ITensor, ILayer, INetworkDefinition, ParserError, OnnxParser):
        binding.add(kind)


def _add_builder(binding: Binding) -> None:
    module = binding.module

    class IBuilderConfig(Bound):
        profiling_verbosity = builder_optimization_level = int8_calibrator = default_device_type = DLA_core = None
        _cache = _profile = _calibration_profile = None

        def __init__(self) -> None:
            self._flags = {module.BuilderFlag.TF32}

        def set_flag(self, flag: Any) -> None:
            self._flags.add(flag)

        def clear_flag(self, flag: Any) -> None:
            self._flags.discard(flag)

        @binding.fallible(-1)
        def add_optimization_profile(self, profile: Any) -> int:
            self._profile = profile
            return 0

        def set_calibration_profile(self, profile: Any) -> bool:
            self._calibration_profile = profile
            return True

        @binding.fallible()
        def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
            return module.ITimingCache(bytes(serialized_timing_cache))

        @binding.fallible(False)
        def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
            if cache._content not in (b"", b"timings"):
                return False
            self._cache = cache
            return True

        @binding.fallible()
        def get_timing_cache(self) -> Any:
            return self._cache

        def can_run_on_DLA(self, layer: Any) -> bool:
            return layer.type == module.LayerType.CONVOLUTION

    class Builder(Bound):
        num_DLA_cores = 2

        @binding.fallible()
        def __init__(self, logger: Any) -> None:
            binding.logger = logger

        @binding.fallible()
        def create_network(self, flags: int = 0) -> Any:
            return module.INetworkDefinition(flags)

        @binding.fallible()
        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig()

        @binding.fallible()
        def create_optimization_profile(self) -> Any:
            return module.IOptimizationProfile()

        @binding.fallible()
        def build_serialized_network(self, network: Any, config: IBuilderConfig) -> bytes | None:
            module.last_config = config
            tensor = network._inputs[0]
            if -1 in tensor.shape and config._profile is None:
                binding.say("no optimization profile has been defined")
                return None
            calibrator = config.__dict__.get("int8_calibrator")
            if calibrator is not None:
                assert -1 not in tensor.shape or config._calibration_profile is not None
                calibrator.read_calibration_cache()
                while calibrator.get_batch([tensor.name]) is not None:
                    pass
                calibrator.write_calibration_cache(b"ranges")
            facts = {
                "shapes": config._profile._shapes if config._profile else (tensor.shape,) * 3,
                "dla": config.default_device_type == module.DeviceType.DLA,
            }
            return b"ftrt" + json.dumps(facts).encode() + b"\n" + network._onnx

    binding.add(IBuilderConfig)
    binding.add(Builder)
