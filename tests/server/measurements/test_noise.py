"""A device's noise floor from its A/A controls, and what it keeps from being called a difference."""

from __future__ import annotations

from typing import Any

import pytest

from server.measurements.noise import least_effect, of_effects


def test_the_floor_is_what_95_per_cent_of_the_controls_stay_below() -> None:
    effects = [number / 1000 for number in range(30)]
    assert of_effects(effects) == pytest.approx(0.028)


def test_few_controls_give_no_floor() -> None:
    assert of_effects([0.01] * 7) is None
    assert of_effects([0.01] * 8) == 0.01


@pytest.mark.parametrize(("floor", "least"), [(None, 0.01), (0.004, 0.01), (0.03, 0.03)])
def test_below_one_per_cent_everything_is_a_tie(floor: float | None, least: float) -> None:
    assert least_effect(floor) == least


ONE_PLAN = {"methods": ["layer"], "criteria": ["weight_l1"], "amounts": [0.4]}


@pytest.fixture
def measure(scripted: Any, submit: Any) -> Any:
    """Run a job whose control comes out at `control` and whose variants all at `variants`; gives the job."""

    scripted.candidates = [one for one in scripted.candidates if one["label"] == "layer weight_l1 2/1"]

    def measure(*, control: float = 1.0, variants: float = 0.7) -> dict[str, Any]:
        scripted.ratios = dict.fromkeys(scripted.ratios, variants)
        job: dict[str, Any] = submit(pruning=ONE_PLAN)
        while (task := scripted.claim()) is not None:
            result = scripted.answer(task)
            if task["kind"] == "measure":
                for group in result["groups"]:
                    group["sessions"][1].update(scripted.session("aa", control, seed=5))
            assert scripted.send(task, result).status_code == 200
        return job

    return measure


def test_the_floor_grows_from_the_controls_and_makes_ties(measure: Any, client: Any) -> None:
    for number in range(8):
        measure(control=1.009 if number % 2 else 0.991)
    (device,) = client.get("/v1/devices").json()
    (noise,) = device["noise"]
    assert noise["controls"] == 8
    assert noise["noise_floor"] == pytest.approx(0.009, abs=0.001)
    job = measure(variants=1.005)
    rows = client.get("/v1/leaderboard", params={"job": job["id"]}).json()["rows"]
    variants = [row for row in rows if row["family"] != "base"]
    assert all("below_noise_floor" in row["flags"] and row["verdict"] == "stable" for row in variants)
    assert {row["versus_base"] for row in variants if row["job"] == job["id"]} == {"tied"}
    assert all(row["noise_floor"] == pytest.approx(noise["noise_floor"], abs=0.001) for row in rows)
    comparison = client.get(f"/v1/jobs/{job['id']}/comparison").json()
    assert comparison["devices"][0]["noise_floor"] == pytest.approx(noise["noise_floor"], abs=0.001)
    page = client.get("/devices", headers={"Accept": "text/html"}).text
    assert "Noise floor" in page
    assert "0.9 %" in page


def test_a_real_difference_is_shown(measure: Any, client: Any) -> None:
    job = measure(variants=0.9)
    rows = client.get("/v1/leaderboard", params={"job": job["id"]}).json()["rows"]
    assert {row["versus_base"] for row in rows} == {"faster", None}


def test_a_disturbed_control_does_not_raise_the_floor(scripted: Any, measure: Any, client: Any) -> None:
    for _ in range(8):
        measure()
    scripted.flags = ["foreign_load"]
    for _ in range(4):
        measure(control=1.2)
    (device,) = client.get("/v1/devices").json()
    assert device["noise"][0]["controls"] == 8
    assert device["noise"][0]["noise_floor"] < 0.005
