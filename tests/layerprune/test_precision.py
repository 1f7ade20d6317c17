"""Networks in fp16 and int8: what the files hold, and how near to float32 they stay."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from layerprune import models
from layerprune.api.network import Preprocess
from layerprune.api.precision import FP16, INT8, INT8_SYMMETRIC
from layerprune.data.feed import Feed, MemoryFeed
from layerprune.export import export_onnx
from layerprune.precision import CALIBRATION_IMAGES, PreparationFailed, prepare, reference_outputs

FORMS = [FP16, INT8, INT8_SYMMETRIC]
PREPROCESS = Preprocess(size=16, channels=3, mean=[0.5] * 3, std=[0.25] * 3)


@pytest.fixture(scope="module")
def images() -> Feed:
    """More images than calibration looks at: the first ones grey around the middle, the rest black or white."""
    generator = torch.Generator().manual_seed(0)
    calm = torch.randint(96, 160, (CALIBRATION_IMAGES, 3, 16, 16), generator=generator, dtype=torch.uint8)
    stark = torch.randint(0, 2, (64, 3, 16, 16), generator=generator, dtype=torch.uint8) * 255
    pixels = torch.cat([calm, stark])
    return MemoryFeed(pixels, torch.zeros(len(pixels), dtype=torch.int64), PREPROCESS)


@pytest.fixture(scope="module")
def network(images: Feed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small residual network whose batch norms have seen the images."""
    torch.manual_seed(0)
    model = models.build("cifar:resnet20", classes=10, args={"width": 8}).train()
    with torch.no_grad():
        for _ in range(3):
            model(images.first(CALIBRATION_IMAGES))
    path = tmp_path_factory.mktemp("precision") / "network.onnx"
    export_onnx(model.eval(), images.first(2), path)
    return path


@pytest.fixture(scope="module")
def prepared(network: Path, images: Feed) -> dict[str, Path]:
    """The network in every form."""
    paths = {form: network.with_suffix(f".{form}.onnx") for form in FORMS}
    for form, path in paths.items():
        prepare(network, path, form, images)
    return paths


def answers(path: Path, images: torch.Tensor) -> np.ndarray:
    """What ONNX Runtime says with all its optimisations, as a device would."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"input": images.numpy()})[0]
    return found


def difference(ours: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(ours - reference).max() / np.abs(reference).max())


@pytest.mark.parametrize("form", FORMS)
def test_inputs_and_outputs_stay_float32_with_an_open_batch(prepared: dict[str, Path], form: str) -> None:
    graph = onnx.load(prepared[form]).graph
    for value in (graph.input[0], graph.output[0]):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert (graph.input[0].name, graph.output[0].name) == ("input", "logits")


def test_fp16_holds_half_precision_and_says_what_float32_says(
    network: Path, prepared: dict[str, Path], images: Feed
) -> None:
    weights = {tensor.data_type for tensor in onnx.load(prepared[FP16]).graph.initializer if len(tensor.dims) == 4}
    assert weights == {onnx.TensorProto.FLOAT16}
    asked = images.first(32)
    assert difference(answers(prepared[FP16], asked), answers(network, asked)) < 1e-2


@pytest.mark.parametrize("form", [INT8, INT8_SYMMETRIC])
def test_every_convolution_reads_quantised_inputs_and_weights(
    network: Path, prepared: dict[str, Path], form: str
) -> None:
    before = Counter(node.op_type for node in onnx.load(network).graph.node)
    graph = onnx.load(prepared[form]).graph
    assert Counter(node.op_type for node in graph.node)["Conv"] == before["Conv"]
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            assert [made_by[name] for name in node.input[:2]] == ["DequantizeLinear"] * 2, node.name


def test_the_symmetric_form_is_what_tensorrt_reads(prepared: dict[str, Path]) -> None:
    """Zero points of 0, biases in float32, and nothing between a convolution and its activation."""
    graph = onnx.load(prepared[INT8_SYMMETRIC]).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    points = [values[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert points
    assert all(point.dtype == np.int8 and not point.any() for point in points)
    readers = {name: node.op_type for node in graph.node for name in node.input}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert all(values[node.input[2]].dtype == np.float32 for node in convolutions)
    assert {readers[node.output[0]] for node in convolutions} <= {"Relu", "Add"}


@pytest.mark.parametrize("form", [INT8, INT8_SYMMETRIC])
def test_int8_stays_near_float32(network: Path, prepared: dict[str, Path], images: Feed, form: str) -> None:
    asked = images.first(64)
    found = difference(answers(prepared[form], asked), answers(network, asked))
    assert 1e-4 < found < 0.25, "eight bits cannot say exactly what thirty-two said, but nearly"


def test_integer_kernels_say_what_the_file_says_literally(prepared: dict[str, Path], images: Feed) -> None:
    """Also on processors whose kernels add up in 16 bits."""
    asked = images.first(64)
    literal = reference_outputs(prepared[INT8], asked)
    assert literal.shape == (64, 10)
    assert difference(answers(prepared[INT8], asked), literal) < 0.1


def test_an_optimised_int8_network_runs_on_integer_kernels(prepared: dict[str, Path], tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(prepared[INT8]), options, providers=["CPUExecutionProvider"])
    operators = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert operators["QLinearConv"] == Counter(node.op_type for node in onnx.load(prepared[INT8]).graph.node)["Conv"]
    assert "Conv" not in operators


def test_only_the_first_calibration_images_are_looked_at(network: Path, images: Feed, tmp_path: Path) -> None:
    first = images.subset(torch.arange(CALIBRATION_IMAGES))
    for name, feed in (("all", images), ("first", first)):
        tool = prepare(network, tmp_path / name, INT8, feed)
        assert f"{CALIBRATION_IMAGES} calibration images" in tool
    assert (tmp_path / "all").read_bytes() == (tmp_path / "first").read_bytes()


def test_what_cannot_be_written_is_an_error_with_its_reason(images: Feed, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(PreparationFailed, match="cannot be written in int8") as caught:
        prepare(tmp_path / "broken.onnx", tmp_path / "out.onnx", INT8, images)
    assert caught.value.code == "build_failed"


def test_a_network_without_convolutions_can_be_quantised(images: Feed, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 32), nn.GELU(), nn.Linear(32, 10)).eval()
    export_onnx(network, images.first(2), tmp_path / "mlp.onnx")
    prepare(tmp_path / "mlp.onnx", tmp_path / "mlp.int8.onnx", INT8, images)
    asked = images.first(32)
    assert difference(answers(tmp_path / "mlp.int8.onnx", asked), answers(tmp_path / "mlp.onnx", asked)) < 0.1
