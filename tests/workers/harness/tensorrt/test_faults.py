"""Every call of TensorRT and CUDA fails once: each time the error has a reason, and nothing stays on the GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from workers.harness.cuda import SIGNATURES
from workers.harness.errors import HarnessError

TENSORRT_CALLS = [
    "Builder",
    "Builder.create_network",
    "Builder.create_builder_config",
    "Builder.create_optimization_profile",
    "Builder.build_serialized_network",
    "OnnxParser",
    "OnnxParser.parse",
    "IBuilderConfig.add_optimization_profile",
    "IBuilderConfig.create_timing_cache",
    "IBuilderConfig.set_timing_cache",
    "IBuilderConfig.get_timing_cache",
    "ITimingCache.serialize",
    "Runtime",
    "Runtime.deserialize_cuda_engine",
    "ICudaEngine.create_execution_context",
    "ICudaEngine.create_engine_inspector",
    "ICudaEngine.create_runtime_config",
    "IExecutionContext.set_input_shape",
    "IExecutionContext.infer_shapes",
    "IExecutionContext.set_tensor_address",
    "IExecutionContext.execute_async_v3",
    "IExecutionContext.report_to_profiler",
    "EngineInspector.get_engine_information",
]
FORGIVEN = {
    "cudaStreamBeginCapture": "runs go on without a graph",
    "cudaStreamEndCapture": "runs go on without a graph",
    "cudaGraphInstantiateWithFlags": "runs go on without a graph",
    "cudaGetLastError": "only clears",
}
RELEASING = (
    "cudaFree",
    "cudaFreeHost",
    "cudaStreamDestroy",
    "cudaEventDestroy",
    "cudaGraphExecDestroy",
    "cudaGraphDestroy",
)
OPENING = ("cudaGetDeviceCount", "cudaSetDeviceFlags", "cudaSetDevice")
"""Called by `open_cuda`, which `test_cuda` fails call by call."""


def everything(found: Any, network: bytes) -> None:
    """Use every call of the backend: build, load, run, time, ask, profile, close."""
    session = found.load(network, transfers=True)
    try:
        for _ in range(3):
            session.run()
        session.parts_ns()
        session.infer(np.zeros((2, 3, 8, 8), np.float32))
    finally:
        session.close()
    found.profile(network)


def run_with(found: Any, network: bytes) -> HarnessError | None:
    try:
        everything(found, network)
    except HarnessError as error:
        return error
    return None


@pytest.mark.parametrize("version", ["10.3.0", "rtx"])
def test_the_list_of_calls_is_complete(rig: Callable[..., Any], conv_net: Callable[..., bytes], version: str) -> None:
    found = rig(version)
    assert run_with(found, conv_net()) is None
    assert set(found.module.calls) <= {*TENSORRT_CALLS, *FORGIVEN}
    assert set(found.cudart.calls) | set(OPENING) >= set(SIGNATURES) - {"cudaGetLastError"}
    assert found.cudart.alive == {}


@pytest.mark.parametrize("name", TENSORRT_CALLS)
def test_a_call_of_tensorrt_that_fails_is_an_error_with_its_reason(
    rig: Callable[..., Any], conv_net: Callable[..., bytes], name: str
) -> None:
    found = rig("rtx" if name == "ICudaEngine.create_runtime_config" else "10.3.0")
    found.module.faults.add(name)
    error = run_with(found, conv_net())
    assert error is not None
    assert error.code in ("crashed", "parse_rejected", "bad_input", "oom")
    assert f"{name} was told to fail" in error.message or name == "IExecutionContext.set_input_shape"
    assert error.remedy
    assert found.cudart.alive == {}


@pytest.mark.parametrize("name", sorted(set(SIGNATURES) - set(FORGIVEN) - set(OPENING) - set(RELEASING)))
def test_a_call_of_cuda_that_fails_is_an_error_with_its_name(
    rig: Callable[..., Any], conv_net: Callable[..., bytes], name: str
) -> None:
    found = rig("10.3.0")
    found.cudart.faults[name] = 700
    error = run_with(found, conv_net())
    assert error is not None
    assert f"{name} failed with CUDA error 700" in error.message
    assert found.cudart.alive == {}


@pytest.mark.parametrize("name", RELEASING)
def test_what_cannot_be_given_back_is_an_error_too(
    rig: Callable[..., Any], conv_net: Callable[..., bytes], name: str
) -> None:
    found = rig("10.3.0")
    found.cudart.faults[name] = 700
    error = run_with(found, conv_net())
    if name == "cudaGraphDestroy":  # after recording: runs go on without the graph
        assert error is None
    else:
        assert error is not None
        assert f"{name} failed with CUDA error 700" in error.message


@pytest.mark.parametrize("name", sorted(set(FORGIVEN) - {"cudaGetLastError"}))
def test_what_can_be_done_without_is_done_without(
    rig: Callable[..., Any], conv_net: Callable[..., bytes], name: str
) -> None:
    found = rig("10.3.0")
    found.cudart.faults[name] = 901
    assert run_with(found, conv_net()) is None
