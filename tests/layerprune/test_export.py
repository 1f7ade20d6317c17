"""ONNX files: one file, a dynamic batch, and the numbers of PyTorch."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from layerprune.export import OPSET, TOLERANCE, ExportFailed, ExportMismatch, check_onnx, export_onnx
from layerprune.models import build
from layerprune.structure.trace import trace
from layerprune.training.norms import reestimate_batch_norm_


@pytest.fixture
def images() -> Tensor:
    return torch.randn(9, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network(images: Tensor) -> nn.Module:
    model = build("cifar:resnet20", classes=10)
    reestimate_batch_norm_(model, [images])
    return trace(model.eval(), images)


def test_the_file_computes_what_the_network_computes(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    export_onnx(network, images[:2], tmp_path / "net.onnx")
    reference, difference = check_onnx(tmp_path / "net.onnx", network, images)
    with torch.no_grad():
        assert torch.equal(torch.from_numpy(reference), network(images))
    assert difference <= TOLERANCE


def test_input_output_and_batch_axis_have_their_names(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    export_onnx(network, images[:2], tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    (first,), (last,) = model.graph.input, model.graph.output
    assert (first.name, last.name) == ("input", "logits")
    assert [d.dim_param or d.dim_value for d in first.type.tensor_type.shape.dim] == ["batch", 3, 16, 16]
    assert [d.dim_param or d.dim_value for d in last.type.tensor_type.shape.dim] == ["batch", 10]


def test_batch_norm_is_folded_and_everything_is_in_one_file(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    report = export_onnx(network, images[:2], tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx", load_external_data=False)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert (
        [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")] == [report.opset] == [OPSET]
    )


def test_a_network_in_training_mode_is_exported_for_inference(
    network: nn.Module, images: Tensor, tmp_path: Path
) -> None:
    network.train()
    export_onnx(network, images[:2], tmp_path / "net.onnx")
    assert network.training
    check_onnx(tmp_path / "net.onnx", network, images)


def test_a_file_of_another_network_is_a_mismatch(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    export_onnx(network, images[:2], tmp_path / "net.onnx")
    with torch.no_grad():
        network.get_submodule("fc").bias.add_(0.1)
    with pytest.raises(ExportMismatch, match="differs from PyTorch") as caught:
        check_onnx(tmp_path / "net.onnx", network, images)
    assert caught.value.code == "output_mismatch"


def test_outputs_that_are_not_finite_are_a_mismatch(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    with torch.no_grad():
        network.get_submodule("fc").bias.fill_(float("nan"))
    export_onnx(network, images[:2], tmp_path / "net.onnx")
    with pytest.raises(ExportMismatch):
        check_onnx(tmp_path / "net.onnx", network, images)


class _Unknown(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x.flatten(1))


def test_an_operator_that_onnx_lacks_is_named(images: Tensor, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="bessel_j0") as caught:
        export_onnx(_Unknown(), images[:2], tmp_path / "net.onnx")
    assert caught.value.code == "build_failed"


@pytest.mark.parametrize("size", [2, 5, 14])
def test_average_pooling_to_any_size_is_exported(size: int, tmp_path: Path) -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d((7, 3)), nn.Flatten(), nn.Linear(63, 5)).eval()
    images = torch.randn(3, 3, size, size)
    export_onnx(model, images[:2], tmp_path / "net.onnx")
    check_onnx(tmp_path / "net.onnx", model, images)


def test_a_device_that_reads_less_gets_an_older_opset(tmp_path: Path, images: Tensor) -> None:
    report = export_onnx(nn.Conv2d(3, 4, 3), images[:2], tmp_path / "net.onnx", opset=11)
    model = onnx.load(tmp_path / "net.onnx")
    assert [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")] == [report.opset] == [11]


def test_an_operator_that_is_newer_than_the_opset_says_that_a_device_asks_for_it(
    tmp_path: Path, images: Tensor
) -> None:
    class Sampled(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            grid = torch.zeros(images.shape[0], 2, 2, 2)
            return nn.functional.grid_sample(images, grid, align_corners=False)

    with pytest.raises(ExportFailed, match="opset 13.*grid_sampler") as caught:
        export_onnx(Sampled(), images[:2], tmp_path / "net.onnx", opset=13)
    assert "A device of the job reads no newer opset" in caught.value.remedy


def test_an_opset_that_cannot_be_written_is_refused(tmp_path: Path, images: Tensor) -> None:
    with pytest.raises(ExportFailed, match="opset 8; it can be 9 to 17"):
        export_onnx(nn.Conv2d(3, 4, 3), images[:2], tmp_path / "net.onnx", opset=8)
