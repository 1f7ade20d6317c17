"""What TensorRT refuses stops a job before anything is trained, or leaves a candidate out; int8 from file to device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, fx, nn

from layerprune.api.dataset import DatasetSpec
from layerprune.api.errors import BadInput
from layerprune.api.jobs import Progress
from layerprune.api.network import ModelSpec, Preprocess, RivalSpec, rival_hash
from layerprune.api.precision import TensorRTTarget
from layerprune.api.pruning import FilterOptions, PruningSpec
from layerprune.api.tasks import BuildPayload, MeasurePayload, ScorePayload, ScoreResult
from layerprune.api.training import TrainingSpec
from layerprune.data.material import Material, load_material
from layerprune.structure.trace import trace
from workers.tasks import build, measure, score
from workers.tasks.architectures import ArchitectureWriter, Wanted
from workers.tasks.parsing import EarlyCheck

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")

PREPROCESS = Preprocess(size=8, channels=3, mean=[0.3] * 3, std=[0.4] * 3)
MODEL = ModelSpec(name="cifar:resnet20", args={"width": 4}, preprocess=PREPROCESS)
DIGITS = DatasetSpec(name="digits", max_train_images=200)


def target(capability: str, *precisions: str) -> TensorRTTarget:
    return TensorRTTarget(
        device="card", backend="tensorrt-rtx", capability=capability, precisions=list(precisions or ["fp32"])
    )


def payload(**changes: Any) -> ScorePayload:
    return ScorePayload(
        **{
            "model": MODEL,
            "dataset": DIGITS,
            "pruning": PruningSpec(
                methods=["layer", "filter", "hybrid"],
                criteria=["weight_l1"],
                amounts=[0.4],
                filters=FilterOptions(alignments=[1]),
            ),
            "training": TrainingSpec(base_epochs=1),
            "seed": 0,
        }
        | changes
    )


def run(wanted: ScorePayload, folder: Path, seen: list[Progress]) -> ScoreResult:
    torch.set_num_threads(1)
    return score.run(wanted, folder=folder, report=seen.append, checkpoint=lambda: None)


def test_a_base_that_the_card_refuses_is_not_even_trained(tmp_path: Path) -> None:
    seen: list[Progress] = []
    with pytest.raises(BadInput, match="does not take the base: .*FP32 GEMM") as caught:
        run(payload(parse_for=[target("7.5")]), tmp_path, seen)
    assert caught.value.code == "tensorrt_refuses"
    assert {progress.phase for progress in seen} == {"preparing"}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ScoreResult]:
    """A scoring whose networks all pass, with a file of each in int8."""
    folder = tmp_path_factory.mktemp("score")
    wanted = payload(forms=["int8", "int8-symmetric", "fp16"], parse_for=[target("8.6", "fp32", "fp16", "int8")])
    return folder, run(wanted, folder, [])


def test_every_candidate_that_passes_is_kept(scored: tuple[Path, ScoreResult]) -> None:
    _, result = scored
    assert {candidate.family for candidate in result.candidates} == {"layer", "filter", "hybrid"}
    parsed = {one.architecture for one in result.architectures}
    assert {candidate.architecture for candidate in result.candidates} <= parsed, "hybrids are parsed, too"
    assert not any("TensorRT" in note for note in result.notes)


def test_the_base_has_a_file_in_each_form(scored: tuple[Path, ScoreResult]) -> None:
    folder, result = scored
    base = result.base
    operators = {node.op_type for node in onnx.load(folder / base.forms["int8"].onnx).graph.node}
    assert "QuantizeLinear" in operators
    assert base.forms["fp16"].reference_outputs == base.reference_outputs
    assert base.forms["int8"].reference_outputs != base.reference_outputs


def test_an_int8_network_is_measured_with_the_accuracy_of_the_timed_session(
    scored: tuple[Path, ScoreResult], tmp_path: Path
) -> None:
    folder, result = scored
    base = result.base
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    files = {"int8": base.forms["int8"].onnx, "reference": base.forms["int8"].reference_outputs}
    for name, file in (files | {"pack": result.evaluation_pack}).items():
        (inputs / name).symlink_to(folder / file)
    network = {"variant": "base", "onnx": "int8", "reference_outputs": "reference"}
    wanted = MeasurePayload.model_validate(
        {
            "condition": {"backend": "onnxruntime", "precision": "int8"},
            "base": network,
            "variants": [network | {"variant": "same"}],
            "evaluation_pack": "pack",
            "preprocess": PREPROCESS.model_dump(),
            "seed": 1,
        }
    )
    measured = measure.run(wanted, folder=tmp_path, report=lambda _: None, checkpoint=lambda: None)
    assert measured.conditions["precision"] == "int8"
    first, second = measured.accuracies
    assert first.agrees, f"largest difference {first.max_relative_difference}"
    assert (first.correct, first.outcomes) == (second.correct, second.outcomes)
    assert abs(first.correct / first.n - base.test.final.correct / base.test.final.n) < 0.1


class Determinant(nn.Module):
    """A network with an operator that TensorRT does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 10)

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.head(torch.det(images))
        return answer


@pytest.fixture(scope="module")
def material() -> Material:
    return load_material(MODEL, DIGITS)


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))


def wanted(name: str, network: nn.Module, material: Material) -> Wanted:
    def make() -> fx.GraphModule:
        return trace(network.eval(), material.example)

    return Wanted(name * 64, f"plan {name}", params=1, macs=1, make=make)


def test_a_candidate_that_is_refused_is_left_out_with_a_note(material: Material, tmp_path: Path) -> None:
    writer = ArchitectureWriter(material, tmp_path, [], EarlyCheck([target("8.6")]), 17)
    asked = [wanted("a", plain(), material), wanted("b", Determinant(), material)]
    written = writer.write(asked, lambda _: None, lambda: None)
    assert [one.architecture for one in written] == ["a" * 64]
    assert writer.refused.keys() == {"b" * 64}
    (note,) = writer.notes
    assert "plan b" in note
    assert "Det at " in note
    writer.check_any_left(written)


def test_a_job_without_any_candidate_left_is_refused(material: Material, tmp_path: Path) -> None:
    writer = ArchitectureWriter(material, tmp_path, [], EarlyCheck([target("8.6")]), 17)
    written = writer.write([wanted("b", Determinant(), material)], lambda _: None, lambda: None)
    with pytest.raises(BadInput, match="no pruned network of this job: Det") as caught:
        writer.check_any_left(written)
    assert caught.value.code == "tensorrt_refuses"


def test_a_rival_is_asked_about_before_its_training(scored: tuple[Path, ScoreResult], tmp_path: Path) -> None:
    folder, result = scored
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "weights").symlink_to(folder / result.base.weights)
    rival = RivalSpec(name="cifar:resnet20", args={"width": 2})
    seen: list[Progress] = []
    with pytest.raises(BadInput, match="does not take the rival") as caught:
        build.run(
            BuildPayload(
                model=MODEL,
                dataset=DIGITS,
                training=TrainingSpec(epochs=1),
                base_weights="weights",
                rival=rival,
                plan_hash=rival_hash(rival),
                training_seed=0,
                parse_for=[target("7.5")],
                seed=0,
            ),
            folder=tmp_path,
            report=seen.append,
            checkpoint=lambda: None,
        )
    assert caught.value.code == "tensorrt_refuses"
    assert {progress.phase for progress in seen} == {"preparing"}
