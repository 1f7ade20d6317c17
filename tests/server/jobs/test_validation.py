"""What a request is refused for: each names the value and the remedy."""

from __future__ import annotations

from typing import Any

import pytest

MODEL, DATASET = {"name": "cifar:resnet20"}, {"name": "digits"}


REFUSED: list[tuple[dict[str, Any], str, str, str]] = [
    ({"model": {"name": "cifar:resnet21"}}, "unknown_model", "model.name", "known: cifar:resnet20"),
    ({"dataset": {"name": "digit"}}, "unknown_dataset", "dataset.name", "known: digits"),
    (
        {"pruning": {"criteria": ["weight_l1", "l1"]}},
        "unknown_criterion",
        "pruning.criteria.1",
        "known: imprinting, random, weight_l1",
    ),
    ({"measure": {"devices": ["jetson"]}}, "unknown_device", "measure.devices.0", "known: local-cpu"),
    ({"measure": {"backend": "warp"}}, "unknown_backend", "measure.backend", "known: null, onnxruntime"),
    ({"measure": {"precisions": ["int8"]}}, "unknown_precision", "measure.precisions.0", "known: fp32"),
    ({"measure": {"threads": [1, 3]}}, "bad_input", "measure.threads.1", "local-cpu offers, which is 2"),
    (
        {"pruning": {"targets": {"latency_ratios": [0.5, 1.2]}}},
        "bad_input",
        "pruning.targets.latency_ratios.1",
        "1.2 is at or above the base",
    ),
    (
        {"pruning": {"targets": {"latency_ratios": [0]}}},
        "bad_input",
        "pruning.targets.latency_ratios.0",
        "not above 0",
    ),
    ({"pruning": {"targets": {"latency_ms": [-1]}}}, "bad_input", "pruning.targets.latency_ms.0", "not above 0"),
    ({"pruning": {"targets": {}}}, "bad_input", "pruning.targets", "no latency target"),
    (
        {"pruning": {"targets": [{"ratio": 0.5, "device": "other"}]}},
        "bad_input",
        "pruning.targets.0.device",
        "the job measures local-cpu",
    ),
    (
        {"pruning": {"targets": [{"ratio": 0.5, "statistic": "p99"}]}},
        "bad_input",
        "pruning.targets.0.statistic",
        "662",
    ),
    ({"pruning": {"targets": [{"ratio": 1.2}]}}, "value_error", "pruning.targets.0", "this is 1.2"),
    ({"pruning": {"targets": [{"ratio": 0.5, "latency_ms": 3}]}}, "value_error", "pruning.targets.0", "exactly one of"),
    (
        {"pruning": {"targets": {"latency_ratio": [0.7]}}},
        "extra_forbidden",
        "pruning.targets.latency_ratio",
        "not permitted",
    ),
    (
        {"pruning": {"max_trainings": 201}},
        "bad_input",
        "pruning.max_trainings",
        "201 is above this server's limit of 200",
    ),
    (
        {"pruning": {"criteria": ["weight_l1", "random"]}, "training": {"seeds": list(range(32))}},
        "too_many_trainings",
        "pruning",
        "asks for 864 trainings, the limit",
    ),
    (
        {"pruning": {"targets": {"latency_ratios": [0.7, 0.7]}}},
        "bad_input",
        "pruning.targets.latency_ratios",
        "0.7 more than once",
    ),
    ({"training": {"seeds": [1, 1]}}, "bad_input", "training.seeds", "1 more than once"),
    (
        {"pruning": {"methods": ["filter"], "criteria": ["imprinting"]}},
        "bad_input",
        "pruning.criteria",
        "scores filters",
    ),
    (
        {"model": MODEL | {"preprocess": {"size": 16, "mean": [0.5], "std": [0.5] * 3}}},
        "bad_input",
        "model.preprocess.mean",
        "1 values for 3 channels",
    ),
]
MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"training": {"epochs": 0}}, "training.epochs"),
    ({"trainings": {}}, "trainings"),
    ({"pruning": {"criterion": ["weight_l1"]}}, "pruning.criterion"),
    ({"pruning": {"max_trainings": 1_000_000}}, "pruning.max_trainings"),
]


@pytest.mark.usefixtures("scripted")
def test_a_request_that_cannot_work_is_refused(refused: Any, subtests: pytest.Subtests) -> None:
    for changes, code, field, words in REFUSED:
        with subtests.test(changes):
            error = refused(**changes)
            assert (error["code"], error["field"]) == (code, field)
            assert words in error["message"]
            assert error["remedy"]


@pytest.mark.usefixtures("scripted")
def test_a_malformed_request_names_the_field(refused: Any, subtests: pytest.Subtests) -> None:
    for changes, field in MALFORMED:
        with subtests.test(field):
            assert field in refused(**changes)["field"]


def test_nothing_can_be_asked_for_before_a_worker_came(refused: Any) -> None:
    error = refused()
    assert error["code"] == "unknown_model"
    assert "start a worker" in error["remedy"]


def test_without_a_device_a_job_is_refused(refused: Any, register: Any) -> None:
    register(name="builder", device=None)
    error = refused()
    assert error["code"] == "no_device"
    assert "layerprune worker" in error["remedy"]


@pytest.mark.usefixtures("scripted")
def test_the_answer_says_trainings_and_minutes(submit: Any) -> None:
    estimate = submit()["estimate"]
    # Layers by two criteria, filters unaligned and aligned by the one that has a filter form; twice that to bracket.
    assert estimate["trainings"] == 8
    assert estimate["minutes"] > 0
    assert "rule of thumb" in estimate["basis"]


@pytest.mark.usefixtures("scripted")
def test_the_limit_of_trainings_bounds_the_estimate(submit: Any) -> None:
    assert submit(pruning={"criteria": ["weight_l1"], "max_trainings": 3})["estimate"]["trainings"] == 3


@pytest.mark.usefixtures("scripted")
def test_the_same_key_and_request_give_the_same_job(client: Any) -> None:
    body = {"model": MODEL, "dataset": DATASET}
    headers = {"Idempotency-Key": "once"}
    first = client.post("/v1/jobs", json=body, headers=headers)
    again = client.post("/v1/jobs", json=body, headers=headers)
    assert first.status_code == again.status_code == 201
    assert first.json()["id"] == again.json()["id"]


@pytest.mark.usefixtures("scripted")
def test_the_same_key_with_another_request_is_a_conflict(client: Any) -> None:
    headers = {"Idempotency-Key": "once"}
    client.post("/v1/jobs", json={"model": MODEL, "dataset": DATASET}, headers=headers)
    other = client.post("/v1/jobs", json={"model": MODEL, "dataset": DATASET, "seed": 1}, headers=headers)
    assert other.status_code == 409
    assert other.json()["error"]["code"] == "idempotency_key_reused"
