from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from layerprune.api.catalogue import BackendInfo
from layerprune.api.dataset import DatasetSpec
from layerprune.api.jobs import Estimate, JobRequest, JobView
from layerprune.api.network import ModelSpec
from layerprune.cli.demo import GIB, Bill, places, print_bill, request
from layerprune.cli.output import console

DEADLINE_S = 90


def test_the_demo_asks_for_what_it_promises() -> None:
    asked = request()
    assert asked.model.name == "cifar:resnet20"
    assert [target.ratio for target in asked.pruning.target_list()] == [0.75, 0.5]
    assert asked.training.epochs >= 3
    assert "random" in asked.pruning.criteria
    assert {1, 8} == set(asked.pruning.filters.alignments)


def test_the_demo_measures_on_two_runtimes_with_one_thread_and_two(capsys: pytest.CaptureFixture[str]) -> None:
    asked = request(*places([runtime("onnxruntime", 8), runtime("openvino", 8), runtime("torch", 8)], console()))
    assert asked.measure.backends == ["onnxruntime", "openvino"]
    assert asked.measure.threads == [1, 2]
    assert capsys.readouterr().out == ""


def test_the_demo_leaves_out_what_the_machine_lacks_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert places([runtime("onnxruntime", 1)], console()) == (["onnxruntime"], [1])
    assert "openvino is not installed here and left out" in capsys.readouterr().out


def runtime(name: str, threads: int) -> BackendInfo:
    return BackendInfo(name=name, version="1", precisions=["fp32"], max_opset=20, max_threads=threads)


def test_the_bill_sets_the_whole_against_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    job = JobView(
        id="j",
        state="done",
        request=JobRequest(model=ModelSpec(name="m"), dataset=DatasetSpec(name="d")),
        estimate=Estimate(trainings=1, minutes=1, basis="b"),
        created_at=1,
        progress=1,
        seconds={"training": 80, "timing": 20, "warm_up": 0, "starting": 5},
    )
    print_bill(job, Bill(begun=time.monotonic() - 110, started_s=3, peak_bytes=2 * GIB), console())
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["training", "80.0", "73%"] in lines
    assert ["all", "else:", "imports,", "transfers,", "waiting", "2.0", "2%"] in lines
    assert lines[-2][:5] == ["In", "all", "1", "min", "50"]
    assert "1.10" in lines[-2]
    assert "2.00" in lines[-1]


@pytest.mark.processes
def test_an_interruption_cancels_the_job_and_leaves_nothing_behind(tmp_path: Path) -> None:
    output = tmp_path / "out"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAYERPRUNE_")}
    with output.open("wb") as out:
        process = psutil.Popen(
            [sys.executable, "-m", "layerprune.cli", "demo", "--data", str(tmp_path / "data")],
            stdout=out,
            stderr=out,
            env=environment,
        )
    try:
        deadline = time.monotonic() + DEADLINE_S
        while "running" not in output.read_text():
            assert time.monotonic() < deadline, output.read_text()
            assert process.poll() is None, output.read_text()
            time.sleep(0.1)
        family = process.children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 130
    finally:
        if process.poll() is None:
            process.kill()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert "is cancelled; stopping" in output.read_text()
    assert "Traceback" not in output.read_text()
