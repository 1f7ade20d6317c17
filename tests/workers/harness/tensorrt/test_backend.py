"""The backend over modules shaped like TensorRT 8.5.2, 10.3, 11 and TensorRT for RTX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest

from workers.harness.backends.base import PARTS, Options
from workers.harness.errors import HarnessError

VERSIONS = ["8.5.2", "10.3.0", "11.1.0", "rtx"]
Net = Callable[..., bytes]
Rigs = Callable[..., Any]


def answers(network: bytes, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": images})[0], np.float32).reshape(len(images), -1)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_network_is_built_run_and_asked(rig: Rigs, conv_net: Net, images: np.ndarray, version: str) -> None:
    found, network = rig(version), conv_net()
    session = found.load(network)
    for _ in range(3):
        session.run()
    assert session.infer(images[:2]) == pytest.approx(answers(network, images[:2]), rel=1e-5)
    assert session.facts["engine_bytes"] > len(network)
    assert session.facts["cuda_graph"] == "used"
    session.close()
    assert found.cudart.alive == {}


def test_the_first_run_is_the_first_inference_and_the_second_records_the_graph(rig: Rigs, conv_net: Net) -> None:
    found = rig("10.3.0")
    session = found.load(conv_net())
    enqueued = []
    for _ in range(4):
        enqueued.append(found.module.calls.count("IExecutionContext.execute_async_v3"))
        session.run()
    launches = found.cudart.calls.count("cudaGraphLaunch")
    assert (enqueued, launches) == ([0, 1, 2, 2], 3)


def test_without_a_graph_every_run_enqueues(rig: Rigs, conv_net: Net) -> None:
    found = rig("10.3.0")
    session = found.load(conv_net(), cuda_graph=False)
    for _ in range(3):
        session.run()
    assert found.module.calls.count("IExecutionContext.execute_async_v3") == 3
    assert session.facts["cuda_graph"] == "not wanted"


@pytest.mark.parametrize("failing", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags"])
def test_where_no_graph_can_be_recorded_runs_go_on_and_the_reason_stays(
    rig: Rigs, conv_net: Net, images: np.ndarray, failing: str
) -> None:
    found, network = rig("10.3.0"), conv_net()
    session = found.load(network)
    session.run()
    found.cudart.faults[failing] = 901
    session.run()
    session.run()
    assert session.facts["cuda_graph"].startswith(f"not possible: {failing} failed with CUDA error 901")
    found.cudart.faults.clear()
    assert session.infer(images[:2]) == pytest.approx(answers(network, images[:2]), rel=1e-5)


def test_the_device_and_the_enqueueing_are_timed(rig: Rigs, conv_net: Net) -> None:
    session = rig("10.3.0").load(conv_net())
    session.run()
    device, enqueue = session.parts_ns()
    assert session.parts == ("device", "enqueue")
    assert device == 1_000_000
    assert 0 < enqueue < 10**9


def test_transfers_are_timed_where_they_are_wanted(rig: Rigs, conv_net: Net) -> None:
    found = rig("10.3.0")
    session = found.load(conv_net(), transfers=True)
    copied = found.cudart.calls.count("cudaMemcpyAsync")
    session.run()
    session.run()
    assert session.parts == PARTS
    assert [session.parts_ns()[i] for i in (0, 2, 3)] == [1_000_000, 250_000, 250_000]
    assert found.cudart.calls.count("cudaMemcpyAsync") == copied + 4


@pytest.mark.parametrize("transfers", [False, True])
def test_evaluating_leaves_the_timed_input_alone(rig: Rigs, conv_net: Net, images: np.ndarray, transfers: bool) -> None:
    found, network = rig("10.3.0"), conv_net()
    session = found.load(network, transfers=transfers)
    session.infer(images[:2])
    session.run()
    session._from_device()
    session._cuda.wait_for_stream(session.stream)
    assert session._output == pytest.approx(answers(network, found.data), rel=1e-5)


def test_half_inputs_and_outputs_are_converted(rig: Rigs, half_net: Net, images: np.ndarray) -> None:
    session = rig("10.3.0").load(half_net(), precision="fp16")
    found = session.infer(images[:2])
    assert found.dtype == np.float32
    assert found == pytest.approx(answers(half_net(), images[:2].astype(np.float16)), rel=1e-2)


def test_an_engine_is_built_once_and_then_kept(rig: Rigs, conv_net: Net) -> None:
    found = rig("10.3.0")
    sessions = [found.load(conv_net()) for _ in range(2)]
    assert found.module.calls.count("Builder.build_serialized_network") == 1
    assert [session.facts["engine_kept"] for session in sessions] == [False, True]
    assert sessions[0].facts["engine_sha256"] == sessions[1].facts["engine_sha256"]


def test_without_a_cache_it_is_kept_as_long_as_the_backend(rig: Rigs, conv_net: Net) -> None:
    found = rig("10.3.0")
    for _ in range(2):
        found.backend.load(
            conv_net(), shape=(2, 3, 8, 8), threads=1, precision="fp32", data=found.data, options=Options()
        )
    assert found.module.calls.count("Builder.build_serialized_network") == 1


def test_several_builds_take_turns(rig: Rigs, conv_net: Net) -> None:
    found = rig("10.3.0")
    numbers = [found.load(conv_net(), builds=2).facts["build"] for _ in range(4)]
    assert numbers == [0, 1, 0, 1]
    assert found.module.calls.count("Builder.build_serialized_network") == 2


@pytest.mark.parametrize("change", [{"tf32": False}, {"optimization_level": 1}, {"shape": (1, 3, 8, 8)}])
def test_what_changes_an_engine_makes_another_one(rig: Rigs, conv_net: Net, change: dict[str, Any]) -> None:
    found = rig("10.3.0")
    found.load(conv_net())
    found.data = found.data[:1]
    found.load(conv_net(), **change)
    assert found.module.calls.count("Builder.build_serialized_network") == 2


def test_what_only_changes_how_it_runs_does_not(rig: Rigs, conv_net: Net) -> None:
    found = rig("10.3.0")
    found.load(conv_net())
    found.load(conv_net(), cuda_graph=False, transfers=True)
    assert found.module.calls.count("Builder.build_serialized_network") == 1


def test_a_kept_engine_that_no_longer_loads_is_built_anew_next_time(rig: Rigs, conv_net: Net) -> None:
    found = rig("10.3.0")
    found.load(conv_net())
    found.module.faults.add("Runtime.deserialize_cuda_engine")
    with pytest.raises(HarnessError, match="cannot load the engine: Runtime.deserialize_cuda_engine was told to fail"):
        found.load(conv_net())
    found.module.faults.clear()
    assert not found.load(conv_net()).facts["engine_kept"]


def test_a_kept_engine_outlives_a_lack_of_memory(rig: Rigs, conv_net: Net) -> None:
    found = rig("10.3.0")
    found.load(conv_net())
    found.cudart.faults["cudaMalloc"] = 2
    with pytest.raises(HarnessError, match="memory ran out"):
        found.load(conv_net())
    found.cudart.faults.clear()
    assert found.load(conv_net()).facts["engine_kept"]


def test_an_engine_in_place_of_onnx_is_refused(rig: Rigs) -> None:
    with pytest.raises(HarnessError, match="this is an engine of TensorRT, not ONNX") as caught:
        rig("10.3.0").load(b"ftrt" + bytes(100))
    assert caught.value.code == "parse_rejected"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("two inputs", "must have one input, it has 2"),
        ("integers", "'logits' has the type .*must be float32 or float16"),
        ("open output", "the sizes of logits depend on what is computed"),
    ],
)
def test_what_is_no_classifier_is_refused(rig: Rigs, odd_net: Net, kind: str, words: str) -> None:
    found = rig("10.3.0")
    with pytest.raises(HarnessError, match=words) as caught:
        found.load(odd_net(kind))
    assert caught.value.code == "parse_rejected"
    assert found.cudart.alive == {}


def test_an_engine_for_other_shapes_says_which_it_takes(rig: Rigs, conv_net: Net) -> None:
    found = rig("10.3.0")
    found.module.faults.add("IExecutionContext.set_input_shape")
    with pytest.raises(HarnessError, match=r"was built for inputs from \[2, 3, 8, 8\] to \[2, 3, 8, 8\], not for"):
        found.load(conv_net())


def test_a_dla_takes_no_fp32_and_must_be_there(rig: Rigs, conv_net: Net) -> None:
    found = rig("8.5.2")
    with pytest.raises(HarnessError, match="a DLA computes in fp16 and int8 only"):
        found.load(conv_net(), dla=0)
    with pytest.raises(HarnessError, match="there is no DLA core 2 here; there are 2"):
        found.load(conv_net(), precision="fp16", dla=2)


def test_the_share_of_layers_on_the_dla_is_told(rig: Rigs, conv_net: Net) -> None:
    found = rig("8.5.2")
    session = found.load(conv_net(depth=2), precision="fp16", dla=1)
    # Of conv, relu, conv, relu, pool, flatten, matmul the last is on the GPU, and this DLA can do no relu.
    assert session.facts["dla_share"] == pytest.approx(4 / 7, abs=1e-4)
    assert found.module.last_config.DLA_core == 1


def test_levels_are_refused_where_there_are_none(rig: Rigs, conv_net: Net) -> None:
    with pytest.raises(HarnessError, match="tensorrt 8.5.2 has no optimization levels"):
        rig("8.5.2").load(conv_net(), optimization_level=3)


def test_kernels_for_rtx_are_final_before_the_first_run(rig: Rigs, conv_net: Net) -> None:
    found = rig("rtx")
    found.load(conv_net())
    assert found.module.last_runtime_config.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"


@pytest.mark.parametrize(("version", "opset"), [("8.5.2", 17), ("10.3.0", 20), ("11.1.0", 20), ("rtx", 20)])
def test_each_version_states_its_highest_opset(rig: Rigs, version: str, opset: int) -> None:
    assert rig(version).backend.max_opset == opset


def test_a_card_names_the_device_and_a_board_does_not(rig: Rigs) -> None:
    gpu = {"gpu": "Imagined GPU", "compute_capability": "8.7", "cuda": "12.6", "cuda_driver": "12.6"}
    assert rig("10.3.0").backend.hardware() == {**gpu, "device_model": "Imagined GPU"}
    assert rig("10.3.0", integrated=True).backend.hardware() == gpu


def test_a_refusal_names_operator_and_node_or_the_nodes_number(rig: Rigs, foreign_net: Net) -> None:
    with pytest.raises(HarnessError, match=r"tensorrt 10.3.0 refuses the network: Swizzle \(node strange\): Plugin"):
        rig("10.3.0").load(foreign_net())
    with pytest.raises(HarnessError, match=r"tensorrt 8.5.2 refuses the network: \(node number 0\): Plugin"):
        rig("8.5.2").load(foreign_net())


def test_a_lack_of_memory_while_building_is_oom(rig: Rigs, conv_net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rig("10.3.0")

    def run_out(builder: Any, network: Any, config: Any) -> None:
        found.backend._library.log.log(found.module.ILogger.Severity.ERROR, "Requested size was 9. [Out of memory]")
        found.backend._library.log.log(found.module.ILogger.Severity.WARNING, "a warning")

    monkeypatch.setattr(found.module.Builder, "build_serialized_network", run_out)
    with pytest.raises(
        HarnessError, match=r"cannot build the network: Requested size was 9. \[Out of memory\]$"
    ) as caught:
        found.load(conv_net())
    assert caught.value.code == "oom"


def test_an_input_that_is_a_shape_is_refused(rig: Rigs, conv_net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rig("10.3.0")
    monkeypatch.setattr(found.module.ICudaEngine, "is_shape_inference_io", lambda self, name: True)
    with pytest.raises(HarnessError, match="must have one input, an image; it has input"):
        found.load(conv_net())
    assert found.cudart.alive == {}
