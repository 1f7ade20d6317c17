"""The canary's band, and its history over HTTP."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from server.measurements.canaries import is_off, key_of

STEADY = [500_000, 501_000, 499_500, 500_500, 499_000, 500_200, 501_500, 498_800]


def test_with_fewer_than_eight_timings_nothing_is_off() -> None:
    assert not is_off(900_000, STEADY[:7])


@pytest.mark.parametrize(("value", "off"), [(500_000, False), (509_000, False), (511_000, True), (489_000, True)])
def test_a_steady_device_may_be_off_by_two_per_cent(value: int, off: bool) -> None:
    assert is_off(value, STEADY) is off


def test_a_noisy_device_has_a_wider_band() -> None:
    # Ninety to a hundred and ten: the median absolute deviation is 5, three of them scaled are 22.
    noisy = [90_000, 95_000, 100_000, 105_000, 110_000, 95_000, 105_000, 100_000, 100_000]
    assert not is_off(120_000, noisy)
    assert is_off(123_000, noisy)


def test_a_quiet_device_is_seldom_off() -> None:
    rng = np.random.default_rng(0)
    values = (500_000 * (1 + 0.02 * rng.standard_normal(2000))).astype(int).tolist()
    off = [is_off(values[i], values[i - 30 : i]) for i in range(30, len(values))]
    # Three deviations: 0.3 % if they were known, somewhat more because they are estimated from thirty.
    assert np.mean(off) < 0.015


def test_after_a_lasting_change_the_new_level_becomes_the_usual_one() -> None:
    history = [*[500_000] * 30, *[600_000] * 16]
    assert is_off(600_000, history[:40])
    assert not is_off(600_000, history)


def test_what_the_job_measures_does_not_split_the_history() -> None:
    one = {"runtime": "onnxruntime", "threads": 1, "batch_size": 1, "input_shape": [3, 32, 32], "opset": 17}
    assert key_of(one) == key_of(one | {"batch_size": 8, "input_shape": [3, 224, 224], "opset": 18, "exporter": "x"})
    assert key_of(one) != key_of(one | {"threads": 2})


ONE_PLAN = {"methods": ["layer"], "criteria": ["weight_l1"], "amounts": [0.4]}


def with_canary(result: dict[str, Any], nanoseconds: int) -> dict[str, Any]:
    for group in result["groups"]:
        group["canary"] = [{"start_ns": nanoseconds, "end_ns": nanoseconds, "runs": 400}]
    return result


def test_a_canary_that_is_off_flags_every_row(scripted: Any, submit: Any, client: Any) -> None:
    scripted.candidates = [one for one in scripted.candidates if one["label"] == "layer weight_l1 2/1"]

    def measure(nanoseconds: int) -> dict[str, Any]:
        job: dict[str, Any] = submit(pruning=ONE_PLAN)
        while (task := scripted.claim()) is not None:
            result = scripted.answer(task)
            if task["kind"] == "measure":
                result = with_canary(result, nanoseconds)
            assert scripted.send(task, result).status_code == 200
        return job

    for _ in range(8):
        measure(400_000)
    job = measure(430_000)
    rows = client.get("/v1/leaderboard", params={"job": job["id"]}).json()["rows"]
    assert rows
    assert all("canary_off" in row["flags"] and row["verdict"] == "flagged" for row in rows)
    (device,) = client.get("/v1/devices").json()
    (canary,) = device["canaries"]
    # Eight usual ones, the one that was off, and its repetition.
    assert (canary["timings"], canary["median_ns"], canary["last_ns"], canary["is_off"]) == (10, 400_000, 430_000, True)
    assert "usually 0.400 ms" in client.get("/devices", headers={"Accept": "text/html"}).text


def test_a_canary_that_cannot_be_right_is_refused(scripted: Any, submit: Any) -> None:
    submit()
    task = scripted.run(until="measure")
    response = scripted.send(task, with_canary(scripted.answer(task), -5))
    assert response.status_code == 422
    assert "greater than or equal to 1" in response.json()["error"]["message"]
