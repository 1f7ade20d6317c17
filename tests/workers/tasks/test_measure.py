"""Measuring trained variants: groups, processes, accuracy of the timed session, and doubt where it is due."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from layerprune.api.errors import BadInput
from layerprune.api.network import Preprocess
from layerprune.api.tasks import Condition, MeasuredGroup, MeasureInput, MeasurePayload, MeasureResult
from layerprune.flags import verdict
from layerprune.samples import SampleSet, decode, unpack_outcomes
from layerprune.stats import ratio, sample_flags
from workers import interpreter
from workers.harness.loop import Plan
from workers.tasks import measure, timing
from workers.tasks.timing import Budget

GREY = Preprocess(size=8, channels=3, mean=[0.5] * 3, std=[0.5] * 3)
NetOf = Callable[[int], str]


def run(payload: MeasurePayload, folder: Path, checkpoint: Callable[[], None] = lambda: None) -> MeasureResult:
    return measure.run(payload, folder=folder, report=lambda _: None, checkpoint=checkpoint)


def samples_of(group: MeasuredGroup, folder: Path) -> dict[str, SampleSet]:
    return {session.session: decode((folder / session.samples).read_bytes()) for session in group.sessions}


@pytest.fixture
def payload(null_net: NetOf, pack: str, zeros: str) -> Callable[..., MeasurePayload]:
    """Give a maker of payloads for the null backend: a base of 1000 microseconds and the named variants."""

    def make(*variants_us: int, **condition: object) -> MeasurePayload:
        return MeasurePayload.model_validate(
            {
                "condition": {"backend": "null", **condition},
                "base": {"variant": "the base", "onnx": null_net(1000), "reference_outputs": zeros},
                "variants": [
                    {"variant": f"v{i}", "onnx": null_net(us), "reference_outputs": zeros}
                    for i, us in enumerate(variants_us)
                ],
                "evaluation_pack": pack,
                "preprocess": GREY.model_dump(),
                "seed": 1,
            }
        )

    return make


def test_a_quiet_quick_run_is_stable(tmp_path: Path, payload: Callable[..., MeasurePayload]) -> None:
    (group,) = run(payload(600, 800), tmp_path).groups
    samples = samples_of(group, tmp_path)
    assert list(samples) == ["base", "aa", "v0", "v1"]
    flags = group.flags + sample_flags(samples["v0"], samples["base"], samples["aa"], seed=0)
    assert flags == ["single_process"]
    assert verdict(flags) == "stable"


@pytest.mark.parametrize(("budget", "processes"), [("quick", 1), ("standard", 5), ("thorough", 8)])
def test_the_budget_says_how_many_processes(
    tmp_path: Path, payload: Callable[..., MeasurePayload], budget: str, processes: int
) -> None:
    (group,) = run(payload(600, budget=budget), tmp_path).groups
    samples = samples_of(group, tmp_path)["v0"]
    assert len(samples.processes) == processes
    assert all(len({block.cycle for block in process.blocks}) >= 10 for process in samples.processes)
    assert all(process.warmup_runs >= 50 for process in samples.processes)
    if processes > 1:
        # The null backend is steady: the first look finds every interval narrow.
        looks = group.observed["looks"]
        assert [look["processes"] for look in looks["taken"]] == [processes]
        assert looks["taken"][0]["widest"] <= looks["target"] == 0.01


def test_seven_variants_are_measured_in_two_groups_each_with_base_and_control(
    tmp_path: Path, payload: Callable[..., MeasurePayload]
) -> None:
    result = run(payload(*range(300, 1000, 100)), tmp_path)
    assert [[s.session for s in group.sessions][:2] for group in result.groups] == [["base", "aa"]] * 2
    assert [len(group.sessions) for group in result.groups] == [6, 5]
    assert [accuracy.session for accuracy in result.accuracies] == ["base", *(f"v{i}" for i in range(7))]


def test_the_base_alone_can_be_measured(tmp_path: Path, payload: Callable[..., MeasurePayload]) -> None:
    result = run(payload(), tmp_path)
    assert [[s.session for s in group.sessions] for group in result.groups] == [["base", "aa"]]


def test_the_timed_session_is_evaluated(tmp_path: Path, payload: Callable[..., MeasurePayload]) -> None:
    # The null backend answers zero for every class, so its answer is class 0, which is every image's label.
    accuracy = run(payload(600), tmp_path).accuracies[1]
    assert (accuracy.session, accuracy.correct, accuracy.n, accuracy.agrees) == ("v0", 10, 10, True)
    assert unpack_outcomes(accuracy.outcomes, 10).all()


def test_measuring_goes_on_until_the_intervals_are_narrow(
    tmp_path: Path, payload: Callable[..., MeasurePayload], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Plan(cycles=2, block_ms=1.0, warmup_min_s=0.01, warmup_later_min_s=0.01, warmup_cap_s=0.1)
    monkeypatch.setitem(measure.BUDGETS, "quick", Budget(processes=2, further=(3,), plan=short))
    monkeypatch.setattr(timing, "TARGET_HALF_WIDTH", 0.0)
    (group,) = run(payload(600), tmp_path).groups
    assert {len(found.processes) for found in samples_of(group, tmp_path).values()} == {3}
    assert [look["processes"] for look in group.observed["looks"]["taken"]] == [2, 3]


def test_networks_that_do_not_fit_together_are_timed_in_turn(
    tmp_path: Path, put: Callable[[bytes], str], pack: str, zeros: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three times a gigabyte in two, none of which is ever touched.
    limited = tmp_path / "python"
    limited.write_text(f'#!/bin/sh\nulimit -v {2 * 2**20}\nexec {sys.executable} "$@"\n')
    limited.chmod(0o755)
    monkeypatch.setenv(interpreter.VARIABLE, str(limited))
    monkeypatch.setattr(timing, "MIN_PROCESSES_FOR_T", 2)

    def large(latency_ns: int) -> MeasureInput:
        network = put(json.dumps({"latency_ns": latency_ns, "memory_bytes": 2**30}).encode())
        return MeasureInput(variant=f"of {latency_ns}", onnx=network, reference_outputs=zeros)

    asked = MeasurePayload(
        condition=Condition(backend="null"),
        base=large(1_000_000),
        variants=[large(500_000)],
        evaluation_pack=pack,
        preprocess=GREY,
        seed=1,
    )
    result = run(asked, tmp_path)
    (group,) = result.groups
    assert "not_coresident" in group.flags
    samples = samples_of(group, tmp_path)
    assert {name: len(found.processes) for name, found in samples.items()} == dict.fromkeys(
        ["base", "aa", "of 500000"], 2
    )
    assert ratio(samples["of 500000"], samples["base"], seed=0).value == pytest.approx(0.5, rel=0.01)
    assert [accuracy.session for accuracy in result.accuracies] == ["base", "of 500000"]


def test_what_else_is_known_of_a_session_comes_with_it(
    tmp_path: Path, put: Callable[[bytes], str], pack: str, zeros: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Plan(cycles=2, block_ms=1.0, warmup_min_s=0.01, warmup_later_min_s=0.01, warmup_cap_s=0.1)
    monkeypatch.setitem(measure.BUDGETS, "quick", Budget(processes=1, plan=short, batches=(1, 2), throughput_s=0.05))
    network = put(b'{"latency_ns": 1000000, "noise": 0, "parts": {"device": 0.8, "to_device": 0}}')
    base = MeasureInput(variant="the base", onnx=network, reference_outputs=zeros)
    condition = Condition(backend="null")
    asked = MeasurePayload(condition=condition, base=base, variants=[], evaluation_pack=pack, preprocess=GREY, seed=1)
    (group,) = run(asked, tmp_path).groups
    session, control = group.sessions
    assert {name: part.p50_ns for name, part in session.parts.items()} == {"device": 800_000, "to_device": 1}
    device = decode((tmp_path / session.parts["device"].samples).read_bytes())
    assert set(device.all_ns()) == {800_000}
    assert len(device.all_ns()) == session.n_samples
    assert session.facts.output_finite is True
    assert session.facts.first_inference_ns == 1_000_000
    assert [found.images_per_s for found in session.facts.throughput] == [1000, 1000]
    assert control.facts.throughput == []


def test_cancelling_happens_between_processes(tmp_path: Path, payload: Callable[..., MeasurePayload]) -> None:
    class Cancelled(Exception):
        pass

    passed: list[None] = []

    def checkpoint() -> None:
        passed.append(None)
        if len(passed) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(payload(600, budget="standard"), tmp_path, checkpoint)
    assert len(list((tmp_path / "raw").iterdir())) == 2


def test_more_threads_than_processors_are_refused(tmp_path: Path, payload: Callable[..., MeasurePayload]) -> None:
    with pytest.raises(BadInput, match=r"200 threads were asked for, but only \d+ can run at once"):
        run(payload(600, threads=200), tmp_path)


@pytest.fixture
def real(put: Callable[[bytes], str], conv_net: Callable[..., bytes], pack: str) -> MeasurePayload:
    """A real base with the reference outputs of another network, and a variant with outputs of that size only."""
    base, variant = conv_net(depth=12, channels=16), conv_net(depth=6, channels=16)
    file = io.BytesIO()
    np.save(file, np.full((4, 10), 100.0, dtype=np.float32))
    wrong = put(file.getvalue())
    return MeasurePayload(
        condition=Condition(),
        base=MeasureInput(variant="the base", onnx=put(base), reference_outputs=wrong),
        variants=[MeasureInput(variant="v0", onnx=put(variant), reference_outputs=wrong)],
        evaluation_pack=pack,
        preprocess=GREY,
        seed=1,
    )


@pytest.fixture
def _hogs() -> Iterator[None]:
    """One busy process on every processor that we may use."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    yield
    for hog in hogs:
        hog.kill()
        hog.wait()


@pytest.mark.usefixtures("_hogs")
def test_a_measurement_beside_busy_processes_is_not_stable(
    tmp_path: Path, real: MeasurePayload, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Plan(cycles=10, block_ms=10.0, warmup_min_s=0.1, warmup_cap_s=0.5)
    monkeypatch.setitem(measure.BUDGETS, "quick", Budget(processes=1, plan=short))
    result = run(real, tmp_path)
    (group,) = result.groups
    assert "foreign_load" in group.flags
    assert verdict(group.flags) != "stable"
    assert group.observed["processes"][0]["foreign_cpus"] > 0.2
    assert not any(accuracy.agrees for accuracy in result.accuracies)
