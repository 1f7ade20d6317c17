"""The half of a fake `tensorrt` that loads and runs engines: kernels go onto the fake libcudart's streams."""

from __future__ import annotations

import ctypes
import json
from typing import Any

import numpy as np
import onnx
import onnxruntime
from fake_binding import Binding, Bound, Overridable

LAYER_MS = 0.5


def add_runtime(binding: Binding) -> None:
    """Add runtime, engine, context and inspector; engines compute with ONNX Runtime what their ONNX says."""
    module = binding.module

    class IProfiler(Overridable):
        pass

    class IRuntimeConfig(Bound):
        dynamic_shapes_kernel_specialization_strategy = None

    class Runtime(Bound):
        DLA_core = None

        @binding.fallible()
        def __init__(self, logger: Any) -> None:
            binding.logger = logger

        @binding.fallible()
        def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
            if serialized_engine[:4] != b"ftrt":
                binding.say("Magic tag does not match")
                return None
            return ICudaEngine(serialized_engine[4:])

    class ICudaEngine(Bound):
        num_io_tensors = num_layers = 0
        device_memory_size = device_memory_size_v2 = 4096

        def __init__(self, content: bytes) -> None:
            header, _, network = content.partition(b"\n")
            self._facts, self._graph = json.loads(header), onnx.load_from_string(network).graph
            self._session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
            self._inputs = [value.name for value in self._graph.input]
            self._names = self._inputs + [value.name for value in self._graph.output]
            self.num_io_tensors, self.num_layers = len(self._names), len(self._graph.node)

        def get_tensor_name(self, index: int) -> str:
            return self._names[index]

        def get_tensor_mode(self, name: str) -> Any:
            return module.TensorIOMode.INPUT if name in self._inputs else module.TensorIOMode.OUTPUT

        def get_tensor_dtype(self, name: str) -> Any:
            found = [*self._session.get_inputs(), *self._session.get_outputs()]
            kinds = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(int64)": "INT32"}
            return getattr(module.DataType, kinds[next(value.type for value in found if value.name == name)])

        def is_shape_inference_io(self, name: str) -> bool:
            return False

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
            assert name in self._inputs, "profiles are of inputs only"
            return [tuple(shape) for shape in self._facts["shapes"]]

        @binding.fallible()
        def create_runtime_config(self) -> IRuntimeConfig:
            return IRuntimeConfig()

        @binding.fallible()
        def create_execution_context(self, runtime_config: Any = None) -> IExecutionContext:
            module.last_runtime_config = runtime_config
            return IExecutionContext(self)

        @binding.fallible()
        def create_engine_inspector(self) -> EngineInspector:
            return EngineInspector(self)

    class IExecutionContext(Bound):
        profiler = None
        enqueue_emits_profile = True

        def __init__(self, engine: ICudaEngine) -> None:
            self._engine, self._addresses, self._shape, self._ran = engine, {}, None, False

        @binding.fallible(False)
        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            smallest, _, largest = self._engine.get_tensor_profile_shape(name, 0)
            if not all(a <= b <= c for a, b, c in zip(smallest, shape, largest, strict=True)):
                return False
            self._shape = tuple(shape)
            return True

        @binding.fallible(RuntimeError("infer_shapes error code: -1"))
        def infer_shapes(self) -> list[str]:
            return self._engine._inputs if self._shape is None else []

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            if name in self._engine._inputs:
                return self._shape or (-1,)
            if any(node.op_type == "NonZero" for node in self._engine._graph.node):
                return (-1,)
            zeros = self._answers(np.zeros(self._shape, self._host_type()))
            return tuple(zeros[self._engine._names.index(name) - 1].shape)

        @binding.fallible(False)
        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            return True

        @binding.fallible(False)
        def execute_async_v3(self, stream_handle: int) -> bool:
            if self._shape is None or set(self._addresses) != set(self._engine._names):
                binding.say("shapes or addresses are missing")
                return False
            binding.cuda.compute(stream_handle, self._compute)
            self._ran = True
            return True

        @binding.fallible(False)
        def report_to_profiler(self) -> bool:
            if self.profiler is None or self.enqueue_emits_profile or not self._ran:
                return False
            for node in self._engine._graph.node:
                self.profiler.report_layer_time(node.name or node.output[0], LAYER_MS)
            self.profiler.report_layer_time("copy of the input", LAYER_MS)
            return True

        def _host_type(self) -> Any:
            half = self._engine.get_tensor_dtype(self._engine._inputs[0]) == module.DataType.HALF
            return np.float16 if half else np.float32

        def _answers(self, image: np.ndarray) -> list[np.ndarray]:
            return self._engine._session.run(None, {self._engine._inputs[0]: image})

        def _compute(self) -> None:
            kind, name = self._host_type(), self._engine._inputs[0]
            size = int(np.prod(self._shape)) * np.dtype(kind).itemsize
            binding.cuda.memory(self._addresses[name], size)
            image = np.frombuffer(ctypes.string_at(self._addresses[name], size), kind).reshape(self._shape)
            for output, answer in zip(self._engine._names[1:], self._answers(image), strict=True):
                binding.cuda.memory(self._addresses[output], answer.nbytes)
                ctypes.memmove(self._addresses[output], answer.tobytes(), answer.nbytes)

    class EngineInspector(Bound):
        execution_context = None

        def __init__(self, engine: ICudaEngine) -> None:
            self._engine = engine

        @binding.fallible()
        def get_engine_information(self, format: Any) -> str:
            assert format == module.LayerInformationFormat.JSON
            names = [node.name or node.output[0] for node in self._engine._graph.node]
            if self._engine._facts["dla"]:
                on_dla = {"Name": f"{{ForeignNode[{names[0]}...{names[-2]}]}}", "LayerType": "DLA"}
                return json.dumps({"Layers": [on_dla, names[-1]]})
            tensors = [{"Name": "x", "Dimensions": [1, 3, 8, 8], "Format/Datatype": "Float"}]
            layers = [
                {"Name": name, "LayerType": "CaskConvolution", "Inputs": tensors, "Outputs": tensors, "TacticName": "t"}
                for name in names
            ]
            return json.dumps({"Layers": layers, "Bindings": self._engine._names})

    for kind in (IProfiler, IRuntimeConfig, Runtime, ICudaEngine, IExecutionContext, EngineInspector):
        binding.add(kind)
