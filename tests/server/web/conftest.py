"""Rows of a small leaderboard, built by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from layerprune.api.leaderboard import Accuracy, Downloads, LeaderboardRow
from layerprune.api.wire import Ratio
from layerprune.stats import wilson

BASE_NS = 800_000


def make_row(label: str, family: str, ratio: float, correct: int, **changes: Any) -> LeaderboardRow:
    """Make a row of `correct`/540 at a fraction of the base's 0.8 ms, with an interval of one per cent around it."""

    def accuracy(k: int) -> Accuracy:
        value, low, high = wilson(k, 540)
        return Accuracy(correct=k, n=540, value=value, ci_low=low, ci_high=high)

    number = sum(label.encode())
    values: dict[str, Any] = {
        "measurement": f"m-{number}",
        "job": "job-1",
        "variant": f"v-{number}",
        "label": label,
        "model": "cifar:resnet20",
        "dataset": "digits",
        "family": family,
        "criteria": [] if family == "base" else ["weight_l1"],
        "alignment": {"filter": 1, "filter_aligned": 8}.get(family),
        "amount": 1 - ratio if family != "base" else 0.0,
        "training_seed": 0,
        "device": "local-cpu",
        "runtime": "onnxruntime 1.23.2",
        "precision": "fp32",
        "batch_size": 1,
        "threads": 1,
        "p50_ns": round(BASE_NS * ratio),
        "p90_ns": round(BASE_NS * ratio * 1.1),
        "p99_ns": None,
        "n_samples": 500,
        "ratio": None if family == "base" else Ratio(value=ratio, ci_low=ratio * 0.99, ci_high=ratio * 1.01),
        "accuracy": accuracy(correct),
        "base_accuracy": accuracy(530),
        "params": 272_474,
        "macs": 10_300_000,
        "verdict": "stable",
        "flags": ["single_process"],
        "on_front": False,
        "comparable_key": "a" * 64,
        "downloads": Downloads(onnx="0" * 64, weights="1" * 64, plan="2" * 64, preprocess="3" * 64, samples="4" * 64),
        "measured_at": 1_790_000_000_000_000,
    }
    return LeaderboardRow(**values | changes)


@pytest.fixture
def row() -> Callable[..., LeaderboardRow]:
    return make_row


@pytest.fixture
def board() -> list[LeaderboardRow]:
    """A base, three layer variants, two filter variants and an aligned one; one of them doubtful."""
    return [
        make_row("base", "base", 1.0, 530),
        make_row("layer 8/9", "layer", 0.8, 528),
        make_row("layer 6/9", "layer", 0.65, 525),
        make_row("layer 5/9", "layer", 0.6, 500, verdict="flagged", flags=["foreign_load", "single_process"]),
        make_row("filter 20 %", "filter", 0.82, 529),
        make_row("filter 40 %", "filter", 0.7, 515),
        make_row("aligned 8", "filter_aligned", 0.66, 522),
    ]
