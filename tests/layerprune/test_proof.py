"""What a device report proves, and which reports are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from layerprune import proof
from layerprune.api.device_reports import NETWORKS, DeviceReport, Failure, NetworkCheck, NetworkTiming, Trtexec
from layerprune.api.errors import BadInput
from layerprune.samples import Block, ProcessSamples, SampleSet

Report = Callable[..., DeviceReport]


def samples(latency_ns: float, *, seed: int = 0) -> SampleSet:
    draw = np.random.default_rng(seed)
    blocks = tuple(
        Block(cycle, position, np.rint(latency_ns * draw.uniform(0.995, 1.005, 20)).astype(np.int64))
        for cycle in range(10)
        for position in (0, 3)
    )
    return SampleSet((ProcessSamples(blocks, 50),))


def timing(latency_ns: float = 1e6, *, control: float = 1.0, **changes: Any) -> NetworkTiming:
    answers = {"correct": 32, "n": 32, "max_relative_difference": 1e-6, "agrees": True} | changes
    return proof.timing_of(samples(latency_ns), samples(latency_ns * control, seed=1), answers)


@pytest.fixture
def report() -> Report:
    """A report of one runtime with three networks; `changes` replace fields of the first network's check."""

    def make(backend: str = "tensorrt", version: str = "10.3.0", **changes: Any) -> DeviceReport:
        checks = [NetworkCheck(network=name, timing=timing(), seconds=1) for name in NETWORKS]
        checks[0] = checks[0].model_copy(update=changes)
        conditions = {"device_model": "Orin", "runtime": backend, "runtime_version": version}
        record = {
            "layerprune": "0.1.0",
            "made_at": 1,
            "seconds": 30,
            "facts": {},
            "python": "3.10",
            "backends": [
                {
                    "backend": backend,
                    "version": version,
                    "device_model": "Orin",
                    "conditions": conditions,
                    "networks": [check.model_dump() for check in checks],
                }
            ],
        }
        return DeviceReport.model_validate(record)

    return make


def told(report: DeviceReport) -> list[str]:
    return [problem.message for problem in proof.all_problems(report)]


def test_three_networks_without_a_defect_prove_a_runtime(report: Report) -> None:
    assert told(report()) == []


def test_a_class_is_model_runtime_and_two_numbers_of_the_version() -> None:
    conditions = {
        "device_model": "Orin",
        "runtime": "x",
        "backend": "tensorrt",
        "runtime_version": "10.3.0.30",
        "threads": 2,
    }
    assert proof.class_of(conditions) == proof.DeviceClass("Orin", "tensorrt", "10.3")


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("onnxruntime", False),
        ("openvino", False),
        ("torch", False),
        ("null", False),
        ("tensorrt", True),
        ("onnxruntime-cuda", True),
    ],
)
def test_runtimes_that_the_project_runs_itself_need_no_report(backend: str, expected: bool) -> None:
    assert proof.needs_report(backend) is expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"timing": timing(agrees=False, max_relative_difference=0.4)}, "differ from the reference by 0.4"),
        ({"timing": timing(correct=31)}, "31 of 32 answers are the same"),
        ({"timing": timing(control=1.05)}, "timed against itself it takes 1.0"),
        ({"timing": None, "failure": Failure(code="oom", message="no memory left")}, "no memory left"),
        ({"timing": None}, "was not timed"),
        (
            {"trtexec": Trtexec(version="10.3.0", flags=[], p50_ns=1000, ours_p50_ns=1021)},
            "is +2.1% off trtexec 10.3.0's",
        ),
        (
            {"trtexec": Trtexec(version="10.3.0", flags=[], p50_ns=1000, ours_p50_ns=979)},
            "is -2.1% off trtexec 10.3.0's",
        ),
        ({"trtexec_failure": Failure(code="trtexec_failed", message="trtexec broke")}, "trtexec broke"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_defect_keeps_a_runtime_from_being_proven(report: Report, changes: dict[str, Any], words: str) -> None:
    assert len(told(report(**changes))) == 1
    assert words in told(report(**changes))[0]


def test_every_problem_says_what_to_do(report: Report) -> None:
    found = proof.all_problems(report(timing=timing(control=1.05, agrees=False)))
    assert len(found) == 2
    assert all(problem.remedy and problem.where == "tensorrt: residual" for problem in found)


def test_within_two_per_cent_of_trtexec_is_close_enough(report: Report) -> None:
    assert told(report(trtexec=Trtexec(version="10.3.0", flags=[], p50_ns=1000, ours_p50_ns=1019))) == []


def test_a_network_that_is_left_out_is_a_defect(report: Report) -> None:
    short = report()
    short.backends[0].networks.pop()
    assert told(short) == ["was not checked"]


def test_a_sensor_that_cannot_be_read_spoils_the_machine(report: Report) -> None:
    record = report().model_dump() | {"sensors": [{"name": "nvml", "problem": "NVMLError: no permission"}]}
    assert told(DeviceReport.model_validate(record)) == ["the sensor cannot be read: NVMLError: no permission"]


def test_numbers_that_the_samples_bear_out_are_accepted(report: Report) -> None:
    proof.check_numbers(DeviceReport.model_validate_json(report().model_dump_json()))


def spoil(report: DeviceReport, **changes: Any) -> DeviceReport:
    network = report.backends[0].networks[0]
    assert network.timing is not None
    network.timing = network.timing.model_copy(update=changes)
    return report


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"p50_ns": 5}, "p50 is claimed to be 5 ns"),
        ({"aa": timing(control=1.05).aa}, "the ratio to itself 1.0"),
        ({"samples": "!!!"}, "not base64"),
        ({"samples": "AAAA"}, "samples"),
        ({"correct": 33}, "33 of 32"),
    ],
    ids=str,
)
def test_numbers_that_the_samples_do_not_bear_out_are_refused(
    report: Report, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        proof.check_numbers(spoil(report(), **changes))


def test_conditions_of_another_runtime_are_refused(report: Report) -> None:
    other = report()
    other.backends[0].conditions["runtime"] = "onnxruntime"
    with pytest.raises(BadInput, match=r"speaks of tensorrt 10\.3 on Orin, its conditions of onnxruntime 10\.3"):
        proof.check_numbers(other)


def test_a_network_twice_is_refused(report: Report) -> None:
    twice = report()
    twice.backends[0].networks.append(twice.backends[0].networks[0])
    with pytest.raises(BadInput, match="there twice"):
        proof.check_numbers(twice)
