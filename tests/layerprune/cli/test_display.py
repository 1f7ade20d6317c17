from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from layerprune.api.comparison import (
    AtEqualLatency,
    Comparison,
    Contender,
    DeviceComparison,
    Duel,
    FamilyReach,
    FrontDuel,
    Interval,
    LatencyComparison,
    LatencyPair,
    TargetComparison,
)
from layerprune.api.dataset import DatasetSpec
from layerprune.api.jobs import Estimate, JobRequest, JobView, Progress, TaskView
from layerprune.api.leaderboard import Accuracy, Downloads, LeaderboardRow
from layerprune.api.network import ModelSpec
from layerprune.api.wire import Proportion, Ratio
from layerprune.cli.compare import print_comparison, print_latencies
from layerprune.cli.leaderboard import print_rows, write_csv
from layerprune.cli.output import console, count, duration
from layerprune.cli.watch import failures, is_measuring, picture, plain_line

DIGEST = "ab" * 32
Printed = Callable[[Callable[[Console], None]], str]


def job(*tasks: TaskView, **more: Any) -> JobView:
    values: dict[str, Any] = {
        "id": "j1",
        "state": "running",
        "request": JobRequest(model=ModelSpec(name="cifar:resnet20"), dataset=DatasetSpec(name="digits")),
        "estimate": Estimate(trainings=3, minutes=2, basis="guess"),
        "created_at": 1,
        "progress": 0.25,
        "tasks": list(tasks),
    }
    return JobView(**(values | more))


TRAINING = TaskView(
    id="t1",
    kind="build",
    title="layers by weight_l1",
    state="leased",
    progress=Progress(phase="fine-tuning", epoch=2, epochs=3, loss=0.2134, accuracy=0.961, seconds_left=8),
)
SCORED = TaskView(id="t0", kind="score", title="score", state="done")
BROKEN = TaskView(
    id="t2", kind="build", title="filters", state="failed", reason="diverged", message="Traceback\nloss is NaN"
)


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    def run(print_it: Callable[[Console], None]) -> str:
        print_it(console())
        return capsys.readouterr().out

    return run


def test_a_plain_line_says_what_runs_now() -> None:
    assert plain_line(job(SCORED, TRAINING, seconds_left=65)) == (
        "running 25% | score 1/1, build 0/1 | layers by weight_l1: fine-tuning, epoch 2/3, loss 0.213, accuracy 96.1 %,"
        " 8 s left | about 1 min 05 s left"
    )


def test_a_waiting_job_says_for_what() -> None:
    assert "waits for a worker with role build" in plain_line(job(waiting_for="a worker with role build"))


def test_the_picture_shows_the_same_and_the_failures(printed: Printed) -> None:
    text = printed(lambda out: out.print(picture(job(SCORED, TRAINING, BROKEN, seconds_left=65))))
    for part in ("job j1", "25%", "epoch 2/3", "loss 0.213", "about 1 min 05 s left", "1 failed", "diverged"):
        assert part in text


def test_a_failure_is_told_by_its_last_line() -> None:
    assert failures(job(BROKEN)) == ["filters failed (diverged): loss is NaN"]


@pytest.mark.parametrize(("kind", "measuring"), [("sweep", True), ("measure", True), ("build", False)])
def test_measuring_is_known(kind: Any, measuring: bool) -> None:
    assert is_measuring(job(TaskView(id="t", kind=kind, title="x", state="leased"))) is measuring


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(999, "999"), (272474, "272k"), (1_066_000, "1.07M"), (4.1e9, "4.1G")])
def test_counts(number: float, text: str) -> None:
    assert count(number) == text


def accuracy(correct: int) -> Accuracy:
    return Accuracy(correct=correct, n=540, value=correct / 540, ci_low=0.9, ci_high=0.99)


def row(label: str, **more: Any) -> LeaderboardRow:
    values: dict[str, Any] = {
        "measurement": label,
        "job": "j1",
        "variant": label,
        "label": label,
        "model": "cifar:resnet20",
        "dataset": "digits",
        "family": "layer",
        "criteria": ["imprinting", "weight_l1"],
        "amount": 0.3,
        "training_seed": 0,
        "device": "local-cpu",
        "runtime": "onnxruntime 1.30",
        "precision": "fp32",
        "batch_size": 1,
        "threads": 1,
        "p50_ns": 700_000,
        "p90_ns": None,
        "p99_ns": None,
        "n_samples": 1000,
        "ratio": Ratio(value=0.7, ci_low=0.69, ci_high=0.71),
        "accuracy": accuracy(530),
        "base_accuracy": accuracy(533),
        "params": 200_000,
        "macs": 7_000_000,
        "verdict": "stable",
        "flags": [],
        "on_front": True,
        "comparable_key": DIGEST,
        "downloads": Downloads(onnx=DIGEST, weights=DIGEST, plan=DIGEST, preprocess=DIGEST, samples=DIGEST),
        "measured_at": 1,
    }
    return LeaderboardRow(**(values | more))


def test_rows_are_shown_fastest_first_and_only_stable_ones_have_a_rank(printed: Printed) -> None:
    rows = [
        row("slow", p50_ns=900_000, on_front=False),
        row("noisy", p50_ns=800_000, verdict="flagged", flags=["steal"]),
        row("quick"),
    ]
    lines = printed(lambda out: print_rows(rows, out)).splitlines()
    assert [line.split()[:3] for line in lines[2:5]] == [
        ["1", "*", "quick"],
        ["-", "*", "noisy"],
        ["2", "slow", "layers"],
    ]
    assert "flagged, steal" in lines[3]
    assert "530/540 = 98.1 % [90.0, 99.0]" in lines[2]
    assert "0.700 [0.690, 0.710]" in lines[2]


def test_what_cannot_be_compared_stands_in_tables_of_its_own(printed: Printed) -> None:
    rows = [row("a"), row("b", device="jetson", comparable_key="cd" * 32)]
    text = printed(lambda out: print_rows(rows, out))
    assert "digits, local-cpu" in text
    assert "digits, jetson" in text


def test_labels_are_not_read_as_markup(printed: Printed) -> None:
    assert "[red]x" in printed(lambda out: print_rows([row("[red]x")], out))


def test_csv_has_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    write_csv([row("a", family="base", ratio=None), row("b")])
    head, first, second = capsys.readouterr().out.splitlines()
    names = head.split(",")
    assert dict(zip(names, second.split(","), strict=True))["ratio_ci_high"] == "0.71"
    assert dict(zip(names, first.split(","), strict=True))["criteria"] == "imprinting weight_l1"


def contender(family: Any) -> Contender:
    return Contender(
        variant="v",
        label=f"{family} variant",
        family=family,
        criteria=["imprinting"],
        ratio=Ratio(value=0.65, ci_low=0.64, ci_high=0.66),
        p50_ns=650_000,
        accuracy=accuracy(530),
        validation=Proportion(correct=100, n=105),
        tries=4,
    )


@pytest.fixture
def comparison() -> Comparison:
    """One device with one target, where layers and filters are tied."""
    layer, filters = contender("layer"), contender("filter")
    duel = Duel(
        first=layer,
        second=filters,
        accuracy_difference=0.0,
        ci_low=-0.01,
        ci_high=0.01,
        latency_ratio=Ratio(value=1, ci_low=0.99, ci_high=1.01),
        equally_fast=True,
        verdict="tied",
        sentence="These two trained networks are tied.",
        at_equal_latency=AtEqualLatency.model_construct(interpolated=True, sentence="Tied between two plans."),
    )
    target = TargetComparison(
        target="0.65 of the base",
        target_ratio=0.65,
        contenders=[layer, filters],
        duels=[duel],
        missing={"filter_aligned": "no plan in reach"},
        winners=["layer", "filter"],
    )
    area = Interval(value=0.25, ci_low=0.2, ci_high=0.3)
    device = DeviceComparison(
        device="local-cpu",
        runtime="onnxruntime 1.30",
        precision="fp32",
        batch_size=1,
        threads=2,
        comparable_key=DIGEST,
        base_p50_ns=1_000_000,
        base_accuracy=accuracy(533),
        targets=[target],
        reach=[FamilyReach(family="layer", lowest_ratio=0.31, stopped_by="one block per stage", hypervolume=area)],
        fronts=[FrontDuel(first="layer", second="filter", levels=[], sentence="No crossover is shown.")],
        defects=["Defect: hybrid lost."],
        summary="Nothing is decided.",
        control=["Layer pruning by imprinting against random: won 1."],
    )
    return Comparison(
        job="j1", model="cifar:resnet20", dataset="digits", complete=False, devices=[device], notes=["one build failed"]
    )


def test_a_comparison_is_told_in_tables_and_sentences(printed: Printed, comparison: Comparison) -> None:
    text = printed(lambda out: print_comparison(comparison, out))
    for part in (
        "base: 1.000 ms, 533/540",
        "2 threads",
        "layer variant",
        "none: no plan in reach",
        "0.65 of the base: These two trained networks are tied.",
        "Control: Layer pruning by imprinting against random: won 1.",
        "layers went down to 0.31 of the base; one block per stage",
        "0.65 of the base: Tied between two plans.",
        "one block per stage; hypervolume 0.2500 (0.2000 to 0.3000)",
        "Fronts: No crossover is shown.",
        "Defect: hybrid lost.",
        "Nothing is decided.",
        "has not finished",
        "Note: one build failed",
    ):
        assert part in text


def test_several_places_have_a_matrix(printed: Printed, comparison: Comparison) -> None:
    first = comparison.devices[0]
    target = first.targets[0].model_copy(update={"target": "5 ms", "winners": ["hybrid"]})
    second = first.model_copy(update={"device": "jetson", "threads": 1, "targets": [target]})
    both = comparison.model_copy(update={"devices": [first, second]})
    lines = printed(lambda out: print_comparison(both, out)).splitlines()
    start = next(i for i, line in enumerate(lines) if "Most accurate at equal measured latency" in line)
    head, left, right = (line.split("  ") for line in lines[start + 1 : start + 4])
    assert [cell.strip() for cell in head if cell.strip()] == [
        "device",
        "runtime",
        "settings",
        "0.65 of the base",
        "5 ms",
    ]
    assert "tied: layers, filters" in [cell.strip() for cell in left]
    assert "hybrid" in [cell.strip() for cell in right]


def test_pairs_that_cannot_be_compared_are_counted_and_not_told_one_by_one(
    printed: Printed, comparison: Comparison
) -> None:
    (told,) = comparison.devices[0].targets[0].duels
    doubtful = told.model_copy(update={"verdict": "not_comparable", "sentence": "In doubt.", "at_equal_latency": None})
    comparison.devices[0].targets[0].duels += [doubtful, doubtful]
    text = printed(lambda out: print_comparison(comparison, out))
    assert "2 of 3 pairs of families could not be compared" in text
    assert "In doubt." not in text
    assert "0.65 of the base: These two trained networks are tied." in text


def test_long_sentences_wrap_between_words(comparison: Comparison) -> None:
    sentence = "Layer pruning is faster; no difference in accuracy is shown. " * 4
    duel = comparison.devices[0].targets[0].duels[0].model_copy(update={"sentence": sentence})
    target = comparison.devices[0].targets[0].model_copy(update={"duels": [duel]})
    narrow = comparison.devices[0].model_copy(update={"targets": [target]})
    out = io.StringIO()
    print_comparison(comparison.model_copy(update={"devices": [narrow]}), Console(width=100, file=out))
    lines = out.getvalue().splitlines()
    assert max(len(line) for line in lines) <= 100
    assert sentence.strip() in " ".join(line.strip() for line in lines)


def test_measurements_are_printed_against_the_first(printed: Printed) -> None:
    def pair(label: str, verdict: Any, *doubts: str) -> LatencyPair:
        ratio = Ratio(value=0.9, ci_low=0.89, ci_high=0.91)
        return LatencyPair(
            measurement="m", label=label, p50_ns=900_000, ratio=ratio, verdict=verdict, doubts=list(doubts), sentence=""
        )

    found = LatencyComparison(
        reference="m0",
        label="base",
        p50_ns=1_000_000,
        comparable_key=DIGEST,
        least_effect=0.01,
        pairs=[pair("quick", "faster"), pair("odd", "tied", "steal")],
    )
    text = printed(lambda out: print_latencies(found, out))
    assert "Latency against base" in text
    assert "0.900 [0.890, 0.910]  faster" in text
    assert "in doubt: steal" in text
