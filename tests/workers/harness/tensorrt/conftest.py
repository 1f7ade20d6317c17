"""Networks of every kind, and a TensorRT without a GPU: fake library, fake libcudart, the real backend between them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from workers.harness.backends import tensorrt
from workers.harness.backends.base import Options
from workers.harness.backends.tensorrt import compat
from workers.harness.cuda import Cuda

sys.path.insert(0, str(Path(__file__).parent))  # the fakes beside this file

import fake_binding  # noqa: E402
import fake_cuda  # noqa: E402
import fake_tensorrt  # noqa: E402

SHAPE = (2, 3, 8, 8)
Net = Callable[..., bytes]


@dataclass
class Rig:
    """A backend over fakes; `load` and `profile` fill in what a test does not care about."""

    backend: Any
    module: Any
    cudart: Any
    cache: Path
    data: np.ndarray

    def load(
        self, network: bytes, *, precision: str = "fp32", shape: Any = SHAPE, images: Any = None, **settings: Any
    ) -> Any:
        return self.backend.load(
            network, shape=shape, threads=1, precision=precision, data=self.data, options=self.options(images, settings)
        )

    def profile(self, network: bytes, **settings: Any) -> Any:
        return self.backend.profile(
            network, shape=SHAPE, precision="fp32", data=self.data, options=self.options(None, settings), runs=3
        )

    def options(self, images: Any, settings: dict[str, Any]) -> Options:
        return Options(settings=settings, calibration=images, cache=self.cache)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rig]:
    """Give a maker of rigs: `rig("8.5.2")`, `rig("rtx")`; further arguments go to the fake libcudart."""

    def make(version: str, **cuda: Any) -> Rig:
        cudart = fake_cuda.FakeCudart(**cuda)
        name = "tensorrt-rtx" if version == "rtx" else "tensorrt"
        module = fake_tensorrt.make(fake_binding.RTX if version == "rtx" else version, cudart)
        library = compat.wrap(name, module)
        monkeypatch.setattr(tensorrt, "find_library", lambda name: library)
        monkeypatch.setattr(tensorrt, "open_cuda", lambda: Cuda(cudart))
        kind = tensorrt.TensorRtRtxBackend if version == "rtx" else tensorrt.TensorRtBackend
        data = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
        return Rig(kind(), module, cudart, tmp_path / "cache", data)

    return make


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((5, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="session")
def half_net() -> Net:
    """Give a maker of networks that compute in float16, also at input and output."""

    def make() -> bytes:
        kernel = np.random.default_rng(0).standard_normal((8, 3, 3, 3)) / 5
        nodes = [
            helper.make_node("Conv", ["input", "kernel"], ["conv"], name="conv", pads=[1] * 4),
            helper.make_node("GlobalAveragePool", ["conv"], ["pooled"], name="pool"),
            helper.make_node("Flatten", ["pooled"], ["logits"], name="flatten"),
        ]
        weights = [numpy_helper.from_array(kernel.astype(np.float16), "kernel")]
        return _model(nodes, weights, kind=TensorProto.FLOAT16)

    return make


@pytest.fixture(scope="session")
def fixed_net() -> Net:
    """Give a maker of networks whose batch size is fixed at 4."""

    def make() -> bytes:
        nodes = [helper.make_node("GlobalAveragePool", ["input"], ["logits"], name="pool")]
        return _model(nodes, [], batch=4)

    return make


@pytest.fixture(scope="session")
def quantised_net() -> Net:
    """Give a maker of networks whose only convolution is int8, by QuantizeLinear and DequantizeLinear."""

    def make() -> bytes:
        random = np.random.default_rng(0)
        weights = [
            numpy_helper.from_array(random.integers(-127, 128, (8, 3, 3, 3), np.int8), "kernel8"),
            numpy_helper.from_array(np.full(8, 0.01, np.float32), "kernel_scale"),
            numpy_helper.from_array(np.zeros(8, np.int8), "kernel_zero"),
            numpy_helper.from_array(np.float32(0.03), "scale"),
            numpy_helper.from_array(np.int8(0), "zero"),
        ]
        nodes = [
            helper.make_node("QuantizeLinear", ["input", "scale", "zero"], ["input8"], name="quantise"),
            helper.make_node("DequantizeLinear", ["input8", "scale", "zero"], ["image"], name="dequantise"),
            helper.make_node(
                "DequantizeLinear", ["kernel8", "kernel_scale", "kernel_zero"], ["kernel"], name="kernel", axis=0
            ),
            helper.make_node("Conv", ["image", "kernel"], ["conv"], name="conv", pads=[1] * 4),
            helper.make_node("GlobalAveragePool", ["conv"], ["pooled"], name="pool"),
            helper.make_node("Flatten", ["pooled"], ["logits"], name="flatten"),
        ]
        return _model(nodes, weights)

    return make


@pytest.fixture(scope="session")
def foreign_net() -> Net:
    """Give a maker of networks with an operator that nobody knows: Swizzle, in the node `strange`."""

    def make() -> bytes:
        nodes = [
            helper.make_node("Swizzle", ["input"], ["swizzled"], name="strange", domain="nobody.knows"),
            helper.make_node("Flatten", ["swizzled"], ["logits"], name="flatten"),
        ]
        return _model(nodes, [], domains=["nobody.knows"])

    return make


@pytest.fixture(scope="session")
def odd_net() -> Net:
    """Give a maker of networks that no image classifier is: `odd_net("two inputs")`, `odd_net("open output")`."""

    def make(kind: str) -> bytes:
        if kind == "two inputs":
            return _model([helper.make_node("Add", ["input", "other"], ["logits"], name="add")], [], inputs=2)
        if kind == "integers":
            cast = helper.make_node("Cast", ["input"], ["logits"], name="cast", to=TensorProto.INT64)
            return _model([cast], [], output=TensorProto.INT64)
        nodes = [helper.make_node("NonZero", ["input"], ["logits"], name="which")]
        return _model(nodes, [], output=TensorProto.INT64)

    return make


def _model(
    nodes: list[Any],
    weights: list[Any],
    *,
    kind: int = TensorProto.FLOAT,
    output: int | None = None,
    inputs: int = 1,
    batch: int | str = "batch",
    domains: list[str] | None = None,
) -> bytes:
    names = ["input", "other"][:inputs]
    values = [helper.make_tensor_value_info(name, kind, [batch, 3, 8, 8]) for name in names]
    answers = helper.make_tensor_value_info("logits", output or kind, None)
    graph = helper.make_graph(nodes, "network", values, [answers], weights)
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains or [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    if not domains:
        model = onnx.shape_inference.infer_shapes(model)
    return model.SerializeToString()
