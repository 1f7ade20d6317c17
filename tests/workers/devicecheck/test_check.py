"""The check itself, on real runtimes: what it finds, what it refuses, and that it ends in time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from layerprune import proof
from layerprune.api.catalogue import BackendInfo
from layerprune.api.device_reports import NETWORKS, DeviceReport
from layerprune.api.errors import BadInput
from workers.catalogue import Machine
from workers.devicecheck import Checker, Wanted, choose
from workers.harness import check as bundled
from workers.harness.evaluate import Preprocess, compare, normalise, read_pack
from workers.tasks.timing import Budget, Plan

SHORT = Budget(
    processes=1,
    plan=Plan(cycles=6, block_ms=3.0, warmup_min_s=0.05, warmup_later_min_s=0.05, warmup_min_runs=10, warmup_cap_s=0.3),
)


def check(folder: Path, *backends: str, limit_s: float = 300) -> DeviceReport:
    wanted = Wanted(backends=backends, budget=SHORT, limit_s=limit_s)
    return Checker(wanted, folder, lambda _: None).run()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> DeviceReport:
    """What a short check of ONNX Runtime on this machine finds."""
    return check(tmp_path_factory.mktemp("check"), "onnxruntime")


def test_a_real_runtime_answers_as_the_references(report: DeviceReport) -> None:
    (backend,) = report.backends
    assert (backend.backend, backend.version) == ("onnxruntime", onnxruntime.__version__)
    assert [network.network for network in backend.networks] == list(NETWORKS)
    for network in backend.networks:
        assert network.timing is not None, network.failure
        assert network.timing.agrees
        assert (network.timing.correct, network.timing.n) == (32, 32)
        assert network.timing.max_relative_difference < 1e-4


def test_the_report_bears_out_its_own_numbers(report: DeviceReport) -> None:
    proof.check_numbers(DeviceReport.model_validate_json(report.model_dump_json()))
    timing = report.backends[0].networks[0].timing
    assert timing is not None
    assert timing.p50_ns > 1000
    assert len(proof.unpack(timing.samples).all_ns()) >= 6 * 2 * 3


def test_the_report_says_where_it_was_made(report: DeviceReport) -> None:
    assert report.facts["device_model"] == report.backends[0].conditions["device_model"]
    assert proof.class_of(report.backends[0].conditions).backend == "onnxruntime"
    assert report.python == ".".join(str(part) for part in sys.version_info[:3])
    assert report.sensors, "a machine has at least its processors' sensor"
    assert not [sensor.problem for sensor in report.sensors if sensor.problem]


def test_a_report_with_all_samples_is_small_enough_to_send(report: DeviceReport) -> None:
    assert len(report.model_dump_json()) < 1 << 19


def test_a_runtime_that_computes_nothing_is_found_out(tmp_path: Path) -> None:
    found = proof.all_problems(check(tmp_path, "null"))
    assert [problem.where for problem in found] == [f"null: {name}" for name in NETWORKS]
    assert all("differ from the reference" in problem.message for problem in found)


def test_it_stops_when_its_time_is_over(tmp_path: Path) -> None:
    (backend,) = check(tmp_path, "onnxruntime", limit_s=0).backends
    assert [network.failure and network.failure.code for network in backend.networks] == ["timeout"] * 3


def test_a_runtime_that_is_not_here_is_refused_with_those_that_are() -> None:
    here = BackendInfo(name="onnxruntime", version="1.23", precisions=["fp32"], max_opset=20, max_threads=2)
    with pytest.raises(BadInput, match="unknown backend 'tensorrt'; known: onnxruntime"):
        choose(Machine([here], {}), ["tensorrt"])


def test_a_runtime_that_cannot_be_used_here_is_refused_with_the_reason() -> None:
    with pytest.raises(BadInput, match="libcudart is missing") as caught:
        choose(Machine([], {}, {"tensorrt": "libcudart is missing"}), ["tensorrt"])
    assert "--python" in caught.value.remedy


def test_the_bundle_holds_the_networks_that_a_report_names() -> None:
    bundle = bundled.bundle()
    assert tuple(network.name for network in bundle.networks) == NETWORKS
    files = [path for network in bundle.networks for path in (network.onnx, network.reference)]
    assert sum(path.stat().st_size for path in files) < 300_000


def test_references_answer_each_image_clearly() -> None:
    for network in bundled.bundle().networks:
        logits = np.sort(np.load(network.reference), axis=1)
        margin = (logits[:, -1] - logits[:, -2]).min() / np.abs(logits).max()
        assert margin > 0.02, "an answer that rounding could change"
        assert len(set(np.load(network.reference).argmax(axis=1))) >= 5, "a network that always says the same"


def test_half_precision_stays_within_the_tolerance(tmp_path: Path) -> None:
    # Weights and input rounded to ten bits of mantissa, as TF32 does on GPUs unless it is forbidden.
    bundle = bundled.bundle()
    for network in bundle.networks:
        pack = tmp_path / "pack"
        bundled.write_pack(network, bundle.seeds, pack)
        images = normalise(np.asarray(read_pack(pack).images), Preprocess.from_dict(bundle.preprocess))
        session = onnxruntime.InferenceSession(rounded(network.onnx), providers=["CPUExecutionProvider"])
        outputs = session.run(None, {"input": images.astype(np.float16).astype(np.float32)})[0]
        difference, agrees = compare(outputs, np.load(network.reference))
        assert agrees, (network.name, difference)


def rounded(path: Path) -> bytes:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32:
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16).astype(np.float32), weight.name))
    return model.SerializeToString()


def test_the_bundle_is_what_its_script_makes() -> None:
    script = Path(__file__).parents[3] / "benchmarks" / "check_networks.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(script.parents[1])},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_root_is_read_under_the_measuring_interpreter(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workers.harness.check", str(tmp_path)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert set(found) == {"kind", "python", "sensors", "energy"}
